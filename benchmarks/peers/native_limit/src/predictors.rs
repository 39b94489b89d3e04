//! The 41 predictors of lpp/1, by the definitions of `benchmarks/plain.py`.

use crate::chat::Answer;
use std::ops::Range;

pub const COUNT: usize = 41;
const LABELS: usize = 4;
const SPANS: usize = 26;
const OF_SPAN: usize = 5;
const IMPOSSIBLE: f64 = -9999.0;
const AROUND: &str = " \t\r\n\"'`:=,.;!?{}[]()<>*_#|/\\-";

/// What the answer's text states: the label's code, the confidence in 0..1, and where each stands, in bytes.
pub struct Said {
    pub outcome: Option<usize>,
    pub confidence: Option<f64>,
    spans: [Range<usize>; 3],
}

impl Said {
    pub fn read(text: &str, truncated: bool) -> Self {
        let [outcome, mut confidence, rationale] =
            ["\"outcome\"", "\"confidence\"", "\"rationale\""].map(|key| value(text, key).unwrap_or(0..0));
        if truncated && confidence.end == text.len() {
            confidence = 0..0; // it may have gone on
        }
        let stated = text[confidence.clone()].parse().map(|stated: f64| stated / 100.0).ok();
        Said {
            outcome: label(&text[outcome.clone()]),
            confidence: stated.filter(|stated| (0.0..=1.0).contains(stated)),
            spans: [outcome, confidence, rationale],
        }
    }
}

/// Where the scalar behind a key stands.
fn value(text: &str, key: &str) -> Option<Range<usize>> {
    let behind = text[text.find(key)? + key.len()..].trim_start().strip_prefix(':')?.trim_start();
    let begin = text.len() - behind.len();
    if let Some(quoted) = behind.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        return Some(begin + 1..begin + 1 + end);
    }
    let end = behind.find(|next: char| next.is_whitespace() || "\"',[]{}".contains(next)).unwrap_or(behind.len());
    Some(begin..begin + end)
}

fn label(token: &str) -> Option<usize> {
    let bare = if token.len() > 1 { token.trim_matches(|next| AROUND.contains(next)) } else { token };
    match bare.as_bytes() {
        [digit @ b'0'..=b'3'] => Some(usize::from(digit - b'0')),
        _ => None,
    }
}

#[derive(Clone, Copy, Default)]
struct Token {
    begin: usize,
    end: usize,
    first: usize,
    logprob: f64,
    entropy: f64,
    margin: f64,
}

pub struct Predictors {
    pub values: [f32; COUNT],
    tokens: Vec<Token>,
    alternatives: Vec<f64>,
}

impl Default for Predictors {
    fn default() -> Self {
        Predictors { values: [f32::NAN; COUNT], tokens: Vec::new(), alternatives: Vec::new() }
    }
}

impl Predictors {
    /// Fill `values`, NaN where one is missing.
    pub fn compute(&mut self, answer: &Answer, text: &str, said: &Said) {
        self.lay_out(answer, text);
        self.values.fill(f32::NAN);
        self.whole();
        for (part, span) in said.spans.iter().enumerate() {
            self.part(part, span);
        }
        if let Some(outcome) = said.outcome {
            self.label(answer, &said.spans[0]);
            for (column, code) in [(22, 2), (23, 3), (25, 1)] {
                self.values[column] = f32::from(u8::from(outcome == code));
            }
        }
        self.values[19] = f32::from(u8::from(said.confidence.is_none()));
        match said.confidence {
            Some(confidence) => self.values[17] = confidence as f32,
            None => self.values[18] = f32::NAN,
        }
    }

    /// The tokens with the distribution of each one's alternatives.
    fn lay_out(&mut self, answer: &Answer, text: &str) {
        self.alternatives.clear();
        self.alternatives.extend(floats(&answer.alternative_logprobs));
        self.tokens.clear();
        let (mut begin, mut first) = (0, 0);
        let columns = integers(&answer.sizes).zip(integers(&answer.counts)).zip(floats(&answer.logprobs));
        for ((size, count), logprob) in columns {
            // Sizes are characters, the text's places bytes.
            let end = begin + text[begin..].char_indices().nth(size).map_or(text.len() - begin, |(at, _)| at);
            let (entropy, margin) = distribution(&self.alternatives[first..first + count]);
            self.tokens.push(Token { begin, end, first, logprob, entropy, margin });
            (begin, first) = (end, first + count);
        }
        self.tokens.push(Token { begin, first, ..Token::default() }); // where the last one ends
    }

    fn whole(&mut self) {
        let tokens = &self.tokens[..self.tokens.len() - 1];
        let count = tokens.len() as f64;
        let sum: f64 = tokens.iter().map(|token| token.logprob).sum();
        let mean = sum / count;
        let likely = 0.5f64.ln();
        let values = [
            mean,
            tokens.iter().map(|token| token.logprob).fold(f64::INFINITY, f64::min),
            (tokens.iter().map(|token| (token.logprob - mean).powi(2)).sum::<f64>() / count).sqrt(),
            sum,
            (-mean).exp(),
            tokens.iter().map(|token| token.entropy).sum::<f64>() / count,
            tokens.iter().map(|token| token.entropy).fold(f64::NEG_INFINITY, f64::max),
            tokens.iter().map(|token| token.margin).sum::<f64>() / count,
            tokens.iter().map(|token| token.margin).fold(f64::INFINITY, f64::min),
            count,
            tokens.iter().filter(|token| token.logprob < likely).count() as f64 / count,
        ];
        for (column, value) in values.into_iter().enumerate() {
            self.values[6 + column] = value as f32;
        }
    }

    /// The statistics over the tokens that overlap a part of the text.
    fn part(&mut self, part: usize, span: &Range<usize>) {
        let inside = self.tokens[..self.tokens.len() - 1]
            .iter()
            .filter(|token| token.begin < span.end && token.end > span.start);
        let (mut count, mut sum, mut least, mut entropy, mut margin) = (0.0, 0.0, f64::INFINITY, 0.0, 0.0);
        for token in inside.filter(|_| !span.is_empty()) {
            count += 1.0;
            sum += token.logprob;
            least = least.min(token.logprob);
            entropy += token.entropy;
            margin += token.margin;
        }
        if count == 0.0 {
            return;
        }
        let column = SPANS + OF_SPAN * part;
        for (place, value) in [sum / count, least, entropy / count, margin / count, count].into_iter().enumerate() {
            self.values[column + place] = value as f32;
        }
        if part < 2 {
            self.values[[0, 18][part]] = sum as f32;
        }
    }

    /// The label distribution at the outcome's first token.
    fn label(&mut self, answer: &Answer, span: &Range<usize>) {
        let Some(at) = self.tokens.iter().position(|token| token.end > span.start) else { return };
        let (from, to) = (self.tokens[at].first, self.tokens[at + 1].first);
        let strings = answer.alternatives.split(|byte| *byte == 0).skip(from);
        let mut masses = [0.0; LABELS];
        for (string, logprob) in strings.zip(&self.alternatives[from..to]) {
            if let Some(code) = std::str::from_utf8(string).ok().and_then(label) {
                masses[code] += logprob.exp();
            }
        }
        let coverage: f64 = masses.iter().sum();
        if coverage <= 0.0 {
            return;
        }
        let mut shares = masses.map(|mass| mass / coverage);
        let entropy: f64 = shares.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum();
        for (column, code) in [(24, 1), (20, 2), (21, 3)] {
            self.values[column] = shares[code] as f32;
        }
        shares.sort_by(|one, two| two.total_cmp(one));
        let [first, second, ..] = shares;
        let log_margin = if second > 0.0 { (first / second).ln() } else { f64::NAN };
        let values = [first, entropy.max(0.0), first - second, log_margin, coverage.min(1.0)];
        for (column, value) in values.into_iter().enumerate() {
            self.values[1 + column] = value as f32;
        }
    }
}

/// Entropy and margin of a token's alternatives, renormalised.
fn distribution(logprobs: &[f64]) -> (f64, f64) {
    let (mut total, mut weighted, mut first, mut second, mut known) = (0.0, 0.0, 0.0, 0.0, 0);
    for logprob in logprobs.iter().filter(|logprob| **logprob > IMPOSSIBLE) {
        let p = logprob.exp();
        known += 1;
        total += p;
        weighted += p * logprob;
        if p > first {
            (first, second) = (p, first);
        } else if p > second {
            second = p;
        }
    }
    if known < 2 {
        return (f64::NAN, f64::NAN);
    }
    ((total.ln() - weighted / total).max(0.0), (first - second) / total)
}

fn floats(column: &[u8]) -> impl Iterator<Item = f64> {
    column.as_chunks().0.iter().map(|bytes| f64::from_ne_bytes(*bytes))
}

fn integers(column: &[u8]) -> impl Iterator<Item = usize> {
    column.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes) as usize)
}
