//! A strict scanner of JSON in UTF-8. It takes what the JSON grammar allows, less what readers are known to differ on;
//! whatever else it meets, it gives up with `None`: the caller hands the body to the reference then.

use crate::decimal::divided;

/// Nesting beyond which a value is not skipped.
const DEEPEST: u32 = 64;
/// Characters of a number beyond which it is left to the reference.
const LONGEST_NUMBER: usize = 40;
/// Digits of a whole number that a 64-bit integer holds in every reader.
const MOST_DIGITS: usize = 18;
const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

const EIGHT: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = EIGHT << 7;

pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { bytes: text.as_bytes(), at: 0 }
    }

    /// The next byte that is no blank, not taken yet; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        loop {
            match self.byte() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Take the mark, if it is next; whether it was.
    #[inline]
    pub fn take(&mut self, mark: u8) -> bool {
        let found = self.byte() == mark || self.peek() == mark;
        self.at += usize::from(found);
        found
    }

    /// Nothing but blanks is left.
    pub fn end(&mut self) -> Option<()> {
        (self.peek() == 0 && self.at == self.bytes.len()).then_some(())
    }

    /// Each member of an object: its key, and the scanner before its value, which `read` must take.
    ///
    /// `usual` are keys that are found fastest, each with its quotes and colon; `read` gets every key without them.
    #[inline(always)]
    pub fn object<const N: usize>(
        &mut self,
        usual: [&'static [u8]; N],
        mut read: impl FnMut(&mut Self, &[u8]) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Some(());
        }
        loop {
            self.peek();
            match usual.into_iter().find(|key| self.rest().starts_with(key)) {
                Some(key) => {
                    self.at += key.len();
                    read(self, &key[1..key.len() - 2])?;
                }
                None => {
                    let key = self.key()?;
                    self.expect(b':')?;
                    read(self, key)?;
                }
            }
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Each item of an array, which `read` must take.
    #[inline]
    pub fn array(&mut self, mut read: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Some(());
        }
        loop {
            read(self)?;
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    /// Whether the value is null; it is taken then.
    #[inline]
    pub fn null(&mut self) -> Option<bool> {
        if self.peek() != b'n' {
            return Some(false);
        }
        self.word("null").map(|()| true)
    }

    /// Append a string to `out`. Half of a surrogate pair is given up on, and so is NUL.
    #[inline]
    pub fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let eight = self.eight();
            let count = plain(eight);
            out.extend_from_slice(&eight.to_le_bytes());
            self.at += count;
            if count < 8 {
                out.truncate(out.len() - (8 - count));
                match self.byte() {
                    b'"' => {
                        self.at += 1;
                        return Some(());
                    }
                    b'\\' => out.extend_from_slice(self.escape()?.encode_utf8(&mut [0; 4]).as_bytes()),
                    _ => return None,
                }
            }
        }
    }

    /// A number.
    #[inline]
    pub fn number(&mut self) -> Option<f64> {
        self.peek();
        let start = self.at;
        let negative = self.byte() == b'-';
        self.at += usize::from(negative);
        let (mut digits, mut below, mut power) = (0, 0, false);
        let whole = self.whole_digits(&mut digits)?;
        let mut next = self.byte();
        if next == b'.' {
            self.at += 1;
            below = self.digits(&mut digits)?;
            next = self.byte();
        } else if whole > MOST_DIGITS || (negative && digits == 0) {
            return None; // a big integer, or -0: readers differ on its sign
        }
        if next == b'e' || next == b'E' {
            power = true;
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits(&mut 0)?;
        }
        let quick = if power { None } else { divided(digits, below) };
        if let Some(value) = quick {
            return Some(if negative { -value } else { value });
        }
        let number = &self.bytes[start..self.at];
        if number.len() > LONGEST_NUMBER {
            return None;
        }
        std::str::from_utf8(number).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// Take any value without reading it, as strictly as if it was read.
    #[inline]
    pub fn skip(&mut self) -> Option<()> {
        if self.skip_small_numbers() { Some(()) } else { self.skip_below(DEEPEST) }
    }

    fn skip_below(&mut self, depth: u32) -> Option<()> {
        let below = depth.checked_sub(1)?;
        match self.peek() {
            b'"' => self.skip_string(),
            b'[' => self.array(|scanner| scanner.skip_below(below)),
            b'{' => self.object([], |scanner, _| scanner.skip_below(below)),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(|_| ()),
        }
    }

    /// Take an array of numbers of up to three digits without blanks, such as a token's bytes; whether it is one.
    #[inline]
    fn skip_small_numbers(&mut self) -> bool {
        let rest = self.rest();
        let mut bytes = rest.iter();
        let mut next = || bytes.next().copied().unwrap_or(0);
        let mut byte = next();
        if byte != b'[' {
            return false;
        }
        while byte != b']' {
            let first = next();
            byte = next();
            if first != b'0' && byte.is_ascii_digit() {
                byte = next();
                if byte.is_ascii_digit() {
                    byte = next();
                }
            }
            if !first.is_ascii_digit() || !matches!(byte, b',' | b']') {
                return false;
            }
        }
        self.at = self.bytes.len() - bytes.len();
        true
    }

    fn skip_string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.pass();
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape().map(|_| ())?,
                _ => return None,
            }
        }
    }

    /// A key without escapes: one that has any might be the same as another.
    #[inline]
    fn key(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        self.pass();
        let key = &self.bytes[start..self.at];
        (self.byte() == b'"').then(|| {
            self.at += 1;
            key
        })
    }

    #[inline(always)]
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline(always)]
    fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn expect(&mut self, mark: u8) -> Option<()> {
        self.take(mark).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(())
    }

    /// The next eight bytes, the first one lowest; zeros behind the end.
    #[inline(always)]
    fn eight(&self) -> u64 {
        let rest = self.rest();
        if let Some(&eight) = rest.first_chunk() {
            return u64::from_le_bytes(eight);
        }
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(eight)
    }

    /// Go to the next character that does not stand for itself in a string.
    #[inline]
    fn pass(&mut self) {
        loop {
            let count = plain(self.eight());
            self.at += count;
            if count < 8 {
                return;
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 2;
        Some(match self.bytes.get(self.at - 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => return self.unicode(),
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first).filter(|character| *character != '\0'); // none for the second half of a pair
        }
        if !self.bytes[self.at..].starts_with(b"\\u") {
            return None;
        }
        self.at += 2;
        let second = self.hex()?;
        if !(0xDC00..0xE000).contains(&second) {
            return None;
        }
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
    }

    /// The digits before a point, of which there must be one, and no zero before others.
    #[inline(always)]
    fn whole_digits(&mut self, value: &mut u64) -> Option<usize> {
        let (first, second) =
            (self.byte().wrapping_sub(b'0'), self.bytes.get(self.at + 1).map_or(255, |byte| byte.wrapping_sub(b'0')));
        if second <= 9 {
            return if first == 0 { None } else { self.digits(value) };
        }
        self.at += 1;
        *value = u64::from(first);
        (first <= 9).then_some(1)
    }

    /// How many digits, of which there must be one: they are added to `value`, which is the largest if they are too many.
    #[inline]
    fn digits(&mut self, value: &mut u64) -> Option<usize> {
        let start = self.at;
        loop {
            let eight = self.eight() ^ (EIGHT * b'0' as u64); // a digit becomes its number
            let others = ((eight & !TOPS).wrapping_add(EIGHT * (0x80 - 10)) | eight) & TOPS;
            if others == 0 {
                *value = value.saturating_mul(100_000_000).saturating_add(eight_digits(eight));
                self.at += 8;
                continue;
            }
            let count = others.trailing_zeros() as usize / 8;
            let digits = eight << (56 - 8 * count) << 8; // as if zeros stood before them
            *value = value.saturating_mul(TENS[count]).saturating_add(eight_digits(digits));
            self.at += count;
            return (self.at > start).then_some(self.at - start);
        }
    }
}

/// The number that eight digits make, the first one lowest.
#[inline(always)]
fn eight_digits(mut digits: u64) -> u64 {
    digits = digits.wrapping_mul(10).wrapping_add(digits >> 8); // pairs, then fours, then all
    let (odd, even) = (digits & 0x0000_00FF_0000_00FF, (digits >> 16) & 0x0000_00FF_0000_00FF);
    odd.wrapping_mul(100 + (1_000_000 << 32)).wrapping_add(even.wrapping_mul(1 + (10_000 << 32))) >> 32
}

/// How many of eight bytes, from the lowest on, stand for themselves in a string: up to a quote, a backslash or a control
/// character.
#[inline(always)]
fn plain(eight: u64) -> usize {
    // A byte's top bit is set where it is zero, or below 0x20: exact for the first one, and that is what counts.
    let zero = |bytes: u64| bytes.wrapping_sub(EIGHT) & !bytes;
    let quote = zero(eight ^ (EIGHT * b'"' as u64));
    let backslash = zero(eight ^ (EIGHT * b'\\' as u64));
    let control = eight.wrapping_sub(EIGHT * 0x20) & !eight;
    ((quote | backslash | control) & TOPS).trailing_zeros() as usize / 8
}
