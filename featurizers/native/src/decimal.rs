//! Decimal fractions as the floats nearest to them.

/// Digits below the point up to which there is a reciprocal: as many as the longest number has behind `-0.`.
const MOST_BELOW: usize = 37;

/// For each power of ten: the 64 leading bits of its reciprocal, cut off, and the power of two below it.
const RECIPROCALS: [(u64, u32); MOST_BELOW + 1] = {
    let mut reciprocals = [(0, 0); MOST_BELOW + 1];
    let (mut below, mut ten) = (1, 1u128);
    while below <= MOST_BELOW {
        ten *= 10;
        let (mut bits, mut rest, mut bit) = (0, 1 << ten.ilog2(), 0);
        while bit < 64 {
            rest *= 2;
            bits = bits << 1 | (rest >= ten) as u64;
            rest -= if rest >= ten { ten } else { 0 };
            bit += 1;
        }
        reciprocals[below] = (bits, ten.ilog2());
        below += 1;
    }
    reciprocals
};

/// The float nearest to digits / 10^below, where the leading 62 bits of the quotient tell it: nearly always.
///
/// The largest integer stands for digits that are too many.
#[inline(always)]
pub fn divided(digits: u64, below: usize) -> Option<f64> {
    if digits == u64::MAX || below > MOST_BELOW {
        return None;
    }
    if digits == 0 || below == 0 {
        return Some(digits as f64);
    }
    let (reciprocal, power) = RECIPROCALS[below];
    let shift = digits.leading_zeros();
    let product = (u128::from(digits << shift) * u128::from(reciprocal)) >> 65;
    // The quotient, scaled like the product, is greater by less than 2: less than 1 was shifted out, less than 1/2 was cut
    // off with the reciprocal's end. Where both bounds become the same float, so does all between them. Neither reaches 2^63,
    // for no power of ten lies less than 0.9 % above one of two.
    let (low, high) = (product as i64 as f64, (product as i64 + 2) as f64);
    // A power of two, by which nothing is rounded again: even 10^-37 is no subnormal.
    let scale = f64::from_bits(u64::from(1024 - shift - power) << 52);
    (low == high).then_some(low * scale)
}
