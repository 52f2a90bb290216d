//! Exact amounts: money in 10⁻¹² USD, usage in 10⁻⁹ units; integers inside, decimal strings outside.

pub const NANO: i128 = 1_000_000_000;
pub const PICO: i128 = 1_000_000_000_000;

/// The value, in units of 10^-`decimals`, of a decimal number in shortest form, with limits on the digits before and
/// after the point: `"4.5"` and `"4"` are in shortest form, `"4.50"`, `"04"` and `".5"` are not and give `None`.
pub fn shortest(text: &str, digits: usize, decimals: usize) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || whole.len() > digits || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if fraction.len() > decimals || fraction.ends_with('0') || (fraction.is_empty() && text.ends_with('.')) {
        return None;
    }
    let mut value = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit.is_ascii_digit().then(|| digit - b'0')?))?;
    }
    for _ in fraction.len()..decimals {
        value = value.checked_mul(10)?;
    }
    Some(value)
}

/// Append 10⁻¹² USD as the shortest decimal string: 104_200_000_000_000 → `104.2`. The value is not negative.
pub fn write_usd(out: &mut Vec<u8>, picousd: i128) {
    write_decimal(out, picousd, PICO, 12);
}

/// The same for 10⁻⁹ units.
pub fn write_amount(out: &mut Vec<u8>, nano: i128) {
    write_decimal(out, nano, NANO, 9);
}

/// `unit` is 10 to the power of `places`.
#[inline(always)]
fn write_decimal(out: &mut Vec<u8>, value: i128, unit: i128, mut places: usize) {
    let mut digits = [0_u8; 40];
    let mut at = digits.len();
    let (mut whole, mut fraction) = (value / unit, (value % unit) as u64);
    if fraction != 0 {
        while fraction % 10 == 0 {
            fraction /= 10;
            places -= 1;
        }
        for _ in 0..places {
            at -= 1;
            digits[at] = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
        at -= 1;
        digits[at] = b'.';
    }
    loop {
        at -= 1;
        digits[at] = b'0' + (whole % 10) as u8;
        whole /= 10;
        // 40 digits hold every value below `PICOUSD_MAX`, which 29 digits write.
        if whole == 0 || at == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Append a whole number.
pub fn write_whole(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    while at > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The nearest integer, ties to the even one. The denominator is positive.
pub fn round_half_even(numerator: i128, denominator: i128) -> Option<i128> {
    let quotient = numerator.checked_div_euclid(denominator)?;
    let twice = numerator.checked_rem_euclid(denominator)?.checked_mul(2)?;
    let up = twice > denominator || (twice == denominator && quotient & 1 == 1);
    quotient.checked_add(i128::from(up))
}
