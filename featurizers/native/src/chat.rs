//! The one shape that is read here: an OpenAI-compatible chat completion of one answer with the log-probabilities of its
//! tokens, bare or as a record, whose tokens spell the answer's text. It is what nearly all servers send; everything
//! else, odd or only rare, is left to the reference, which knows what every oddity means.

use crate::scan::Scanner;

/// One answer in columns of numbers in the machine's byte order.
///
/// `sizes` (int32) are the characters of each token, `logprobs` (float64, NaN = missing) in nats, `counts` (int32) the
/// number of its alternatives; `alternative_logprobs` (float64) are those of all tokens' alternatives, one behind the
/// other, `alternatives` their strings, with a separator behind each, and `alternative_sizes` (int32) the bytes of each
/// token's.
#[derive(Default)]
pub struct Answer {
    pub request_id: Option<String>,
    pub llm: Option<String>,
    pub text: Vec<u8>,
    pub finish_reason: Option<String>,
    pub sizes: Vec<u8>,
    pub logprobs: Vec<u8>,
    pub counts: Vec<u8>,
    pub alternative_logprobs: Vec<u8>,
    pub alternatives: Vec<u8>,
    pub alternative_sizes: Vec<u8>,
}

const SEPARATOR: u8 = 0;

/// Fields that were met: one that comes twice is given up on.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    #[inline]
    fn first(&mut self, field: u32) -> Option<()> {
        let flag = 1 << field;
        let first = self.0 & flag == 0;
        self.0 |= flag;
        first.then_some(())
    }

    fn has(&self, field: u32) -> bool {
        self.0 & (1 << field) != 0
    }
}

/// The answer in a value, or None where it is not of the shape.
pub fn read(value: &[u8]) -> Option<Answer> {
    let mut scanner = Scanner::new(std::str::from_utf8(value).ok()?);
    let mut answer = Answer {
        // As much as answers with ten alternatives a token take: growing would copy it again and again.
        alternatives: Vec::with_capacity(value.len() / 12),
        alternative_logprobs: Vec::with_capacity(value.len() / 7),
        logprobs: Vec::with_capacity(value.len() / 64),
        text: Vec::with_capacity(value.len() / 64),
        sizes: Vec::with_capacity(value.len() / 128),
        counts: Vec::with_capacity(value.len() / 128),
        alternative_sizes: Vec::with_capacity(value.len() / 128),
        ..Answer::default()
    };
    let (mut seen, mut provider) = (Seen::default(), None);
    scanner.object([], |scanner, key| match key {
        b"body" => {
            seen.first(0)?;
            let mut own = Seen::default();
            scanner.object([], |scanner, key| match field_of_body(key) {
                Some(field) => read_body_field(scanner, &mut answer, &mut own, field),
                None => scanner.skip(),
            })?;
            own.has(CHOICES).then_some(())
        }
        b"request_id" => {
            seen.first(1)?;
            answer.request_id = nullable_string(scanner)?;
            Some(())
        }
        b"provider" => {
            seen.first(2)?;
            provider = nullable_string(scanner)?;
            Some(())
        }
        _ => match field_of_body(key) {
            Some(field) => read_body_field(scanner, &mut answer, &mut seen, field),
            None => scanner.skip(),
        },
    })?;
    scanner.end()?;
    if seen.has(0) {
        // A record's own fields count, and nothing of a body stands beside its body.
        let own = !seen.has(MODEL) && !seen.has(CHOICES);
        (own && provider.is_none_or(|name| name == "openai-chat")).then_some(answer)
    } else {
        answer.request_id = None; // a bare body's is the provider's own
        seen.has(CHOICES).then_some(answer)
    }
}

const MODEL: u32 = 3;
const CHOICES: u32 = 4;
const FOREIGN: u32 = 5;

/// Which field of a body a key names, None if it says nothing of a body with `choices`: the reference takes that for chat,
/// whatever other formats' fields stand beside them.
#[inline]
fn field_of_body(key: &[u8]) -> Option<u32> {
    match key {
        b"model" => Some(MODEL),
        b"choices" => Some(CHOICES),
        b"modelVersion" | b"model_version" => Some(FOREIGN), // where `model` is empty, they name it
        _ => None,
    }
}

fn read_body_field(scanner: &mut Scanner, answer: &mut Answer, seen: &mut Seen, field: u32) -> Option<()> {
    seen.first(field)?;
    match field {
        MODEL => {
            answer.llm = nullable_string(scanner)?.filter(|name| !name.is_empty());
            Some(())
        }
        CHOICES => {
            let mut read = false;
            scanner.array(|scanner| {
                let first = !std::mem::replace(&mut read, true);
                first.then(|| read_choice(scanner, answer))?
            })?;
            read.then_some(())
        }
        _ => None,
    }
}

fn read_choice(scanner: &mut Scanner, answer: &mut Answer) -> Option<()> {
    let mut seen = Seen::default();
    let mut spelled = Vec::with_capacity(256);
    scanner.object([], |scanner, key| match key {
        b"message" => {
            seen.first(0)?;
            read_message(scanner, &mut answer.text)
        }
        b"logprobs" => {
            seen.first(1)?;
            read_logprobs(scanner, answer, &mut spelled)
        }
        b"finish_reason" => {
            seen.first(2)?;
            answer.finish_reason = nullable_string(scanner)?;
            Some(())
        }
        b"text" => None,
        _ => scanner.skip(),
    })?;
    (seen.has(0) && seen.has(1) && !answer.sizes.is_empty() && spelled == answer.text).then_some(())
}

fn read_message(scanner: &mut Scanner, text: &mut Vec<u8>) -> Option<()> {
    let mut seen = Seen::default();
    scanner.object([], |scanner, key| match key {
        b"content" => {
            seen.first(0)?;
            scanner.string(text)
        }
        b"refusal" | b"function_call" => only_null(scanner),
        b"tool_calls" => {
            if scanner.peek() == b'[' {
                return scanner.array(|_| None); // none is as good as null
            }
            only_null(scanner)
        }
        _ => scanner.skip(),
    })?;
    seen.has(0).then_some(())
}

fn read_logprobs(scanner: &mut Scanner, answer: &mut Answer, spelled: &mut Vec<u8>) -> Option<()> {
    let mut seen = Seen::default();
    scanner.object([], |scanner, key| match key {
        b"content" => {
            seen.first(0)?;
            scanner.array(|scanner| read_token(scanner, answer, spelled))
        }
        b"refusal" | b"tokens" | b"token_logprobs" | b"top_logprobs" => only_null(scanner),
        _ => scanner.skip(),
    })
}

fn read_token(scanner: &mut Scanner, answer: &mut Answer, spelled: &mut Vec<u8>) -> Option<()> {
    let mut seen = Seen::default();
    let mut logprob = f64::NAN;
    let (begin, mut count) = (spelled.len(), 0i32);
    let before = (answer.alternatives.len(), answer.alternative_logprobs.len());
    scanner.object(
        [br#""token":"#, br#""logprob":"#, br#""bytes":"#, br#""top_logprobs":"#],
        |scanner, key| match key {
            b"token" => {
                seen.first(0)?;
                scanner.string(spelled)
            }
            b"logprob" => {
                seen.first(1)?;
                logprob = nullable_number(scanner)?;
                Some(())
            }
            b"top_logprobs" => {
                seen.first(2)?;
                if scanner.null()? {
                    return Some(());
                }
                scanner.array(|scanner| {
                    count += 1;
                    let logprob = read_alternative(scanner, &mut answer.alternatives)?;
                    answer.alternatives.push(SEPARATOR);
                    answer.alternative_logprobs.extend_from_slice(&logprob.to_ne_bytes());
                    Some(())
                })
            }
            _ => scanner.skip(), // `bytes` too: they count only where the tokens do not spell the text
        },
    )?;
    let token = &spelled[begin..];
    if token.is_empty() {
        // Such as the one that ends the turn: it emits nothing.
        answer.alternatives.truncate(before.0);
        answer.alternative_logprobs.truncate(before.1);
        return seen.has(0).then_some(());
    }
    answer.sizes.extend_from_slice(&characters(token)?.to_ne_bytes());
    answer.logprobs.extend_from_slice(&logprob.to_ne_bytes());
    answer.counts.extend_from_slice(&count.to_ne_bytes());
    let strings = i32::try_from(answer.alternatives.len() - before.0).ok()?;
    answer.alternative_sizes.extend_from_slice(&strings.to_ne_bytes());
    Some(())
}

#[inline]
fn read_alternative(scanner: &mut Scanner, strings: &mut Vec<u8>) -> Option<f64> {
    let mut seen = Seen::default();
    let mut logprob = f64::NAN;
    scanner.object([br#""token":"#, br#""logprob":"#, br#""bytes":"#], |scanner, key| match key {
        b"token" => {
            seen.first(0)?;
            scanner.string(strings)
        }
        b"logprob" => {
            seen.first(1)?;
            logprob = nullable_number(scanner)?;
            Some(())
        }
        _ => scanner.skip(),
    })?;
    seen.has(0).then_some(logprob)
}

/// Of UTF-8: the bytes that begin one.
fn characters(text: &[u8]) -> Option<i32> {
    text.iter().filter(|byte| (**byte as i8) >= -0x40).count().try_into().ok()
}

#[inline]
fn nullable_number(scanner: &mut Scanner) -> Option<f64> {
    if scanner.null()? {
        return Some(f64::NAN);
    }
    scanner.number()
}

fn nullable_string(scanner: &mut Scanner) -> Option<Option<String>> {
    if scanner.null()? {
        return Some(None);
    }
    let mut found = Vec::with_capacity(64);
    scanner.string(&mut found)?;
    String::from_utf8(found).ok().map(Some)
}

fn only_null(scanner: &mut Scanner) -> Option<()> {
    scanner.null()?.then_some(())
}
