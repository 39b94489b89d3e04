//! Requests in, decisions and vectors out, as JSON.

use crate::model::Model;
use crate::predictors::Said;
use crate::scan::Scanner;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Request<'a> {
    value: &'a [u8],
    request_id: String,
    pub policy: String,
    tenant: Option<String>,
    language: Option<String>,
}

impl<'a> Request<'a> {
    /// None for what is none.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (mut request_id, mut policy, mut tenant, mut language) = (Vec::new(), Vec::new(), None, None);
        Scanner::new(std::str::from_utf8(value).ok()?).object([], |scanner, key| match key {
            b"request_id" => scanner.string(&mut request_id),
            b"policy" => scanner.string(&mut policy),
            b"tenant" if scanner.peek() == b'"' => scanner.string(tenant.insert(Vec::new())),
            b"language" if scanner.peek() == b'"' => scanner.string(language.insert(Vec::new())),
            _ => scanner.skip(),
        })?;
        let tenant = tenant.and_then(|tenant| String::from_utf8(tenant).ok());
        let language = language.and_then(|language: Vec<u8>| String::from_utf8(language).ok());
        Some(Request {
            value,
            request_id: String::from_utf8(request_id).ok()?,
            policy: String::from_utf8(policy).ok()?,
            tenant,
            language,
        })
    }
}

/// Write the decision; whether nobody need look.
pub fn decision(
    out: &mut Vec<u8>,
    request: &Request,
    llm: Option<&str>,
    said: &Said,
    model: &Model,
    values: &[f32],
) -> bool {
    let probability = rounded(model.probability.into(), 1e7);
    let (scored, reason) = match said.outcome {
        None => (false, "outcome_missing"),
        Some(2) => (false, "evidence_deficiency"),
        Some(3) => (false, "policy_gap"),
        _ if model.needed.iter().any(|column| values[*column].is_nan()) => (false, "predictors_missing"),
        _ => (true, if probability >= model.threshold { "above_threshold" } else { "below_threshold" }),
    };
    let automatic = scored && probability < model.threshold;
    let action = if !automatic {
        "review"
    } else if said.outcome == Some(0) {
        "allow"
    } else {
        "remove"
    };
    let known = |number: f64| scored.then_some(number);
    out.clear();
    raw(out, "{\"request_id\":");
    string(out, Some(&request.request_id));
    raw(out, ",\"policy\":");
    string(out, Some(&request.policy));
    raw(out, ",\"tenant\":");
    string(out, request.tenant.as_deref());
    raw(
        out,
        if automatic {
            ",\"route\":\"auto-action\",\"action\":\""
        } else {
            ",\"route\":\"human-review\",\"action\":\""
        },
    );
    raw(out, action);
    raw(out, "\",\"error_probability\":");
    number(out, known(probability));
    raw(out, ",\"threshold\":");
    number(out, known(model.threshold));
    raw(out, ",\"audit_probability\":");
    number(out, Some(if automatic { 0.0 } else { 1.0 }));
    raw(out, ",\"reasons\":[\"");
    raw(out, reason);
    raw(out, "\"],\"drivers\":[");
    for (place, term) in model.strongest().into_iter().enumerate().filter(|_| scored) {
        raw(out, if place == 0 { "{\"predictor\":" } else { ",{\"predictor\":" });
        string(out, Some(&model.terms[term]));
        raw(out, ",\"push\":");
        number(out, Some(rounded(model.contributions[term], 1e6)));
        raw(out, "}");
    }
    raw(out, "],\"llm\":{\"name\":");
    string(out, llm);
    raw(out, ",\"outcome\":");
    raw(out, said.outcome.map_or("null", |code| ["0", "1", "2", "3"][code]));
    raw(out, ",\"confidence\":");
    number(out, said.confidence.map(|stated| rounded(stated, 1e7)));
    raw(out, ",\"category\":null},\"spec\":\"lpp\",\"model\":{\"name\":");
    string(out, Some(&model.name));
    raw(out, ",\"sha256\":");
    string(out, Some(&model.sha256));
    raw(out, "},\"control_version\":0,\"decided_at\":\"");
    now(out);
    raw(out, "\"");
    if !automatic {
        raw(out, ",\"priority\":");
        number(out, Some(if scored { probability } else { 1.0 }));
        raw(out, ",\"request\":");
        out.extend_from_slice(request.value);
    }
    raw(out, "}");
    automatic
}

/// Write the vector of an answer that was decided so.
pub fn vector(out: &mut Vec<u8>, request: &Request, llm: Option<&str>, values: &[f32], automatic: bool) {
    let mut shortest = ryu::Buffer::new();
    out.clear();
    raw(out, "{\"request_id\":");
    string(out, Some(&request.request_id));
    raw(out, ",\"schema\":\"lpp/1\",\"values\":");
    for (column, value) in values.iter().enumerate() {
        raw(out, if column == 0 { "[" } else { "," });
        raw(out, if value.is_finite() { shortest.format_finite(*value) } else { "null" });
    }
    raw(out, "],\"llm\":");
    string(out, llm);
    raw(out, ",\"policy\":");
    string(out, Some(&request.policy));
    raw(out, ",\"tenant\":");
    string(out, request.tenant.as_deref());
    raw(out, ",\"language\":");
    string(out, request.language.as_deref());
    raw(
        out,
        if automatic {
            ",\"spec\":\"lpp\",\"audit_probability\":0.0,\"stratum\":\"automated\",\"decided_at\":\""
        } else {
            ",\"spec\":\"lpp\",\"audit_probability\":1.0,\"stratum\":\"escalated\",\"decided_at\":\""
        },
    );
    now(out);
    raw(out, "\"}");
}

fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round_ties_even() / scale
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, value: Option<f64>) {
    match value {
        Some(value) => raw(out, ryu::Buffer::new().format_finite(value)),
        None => raw(out, "null"),
    }
}

fn string(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return raw(out, "null") };
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => raw(out, &format!("\\u{byte:04x}")),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// RFC 3339 in ms. The calendar is Howard Hinnant's `civil_from_days`.
fn now(out: &mut Vec<u8>) {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (passed.as_secs(), passed.subsec_millis());
    let shifted = seconds / 86_400 + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let number = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(number <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    raw(out, &format!("{year}-{number:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"));
}
