//! Instants: RFC 3339 outside, milliseconds since 1970 inside, as `event_time.py` and `instants.py` have them.

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

// 9999-12-31T23:59:59.999Z.
const EVENT_TIME_MS_MAX: i64 = 253_402_300_799_999;
const CHARS_MAX: usize = 64;

/// Milliseconds of an RFC 3339 text with an offset, rounded down; `None` when it is no time of the years 1970 to 9999.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() > CHARS_MAX || bytes.len() < 20 {
        return None;
    }
    let (head, mut rest) = bytes.split_at_checked(19)?;
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b't' | b' ', h0, h1, b':', n0, n1, b':', s0, s1] = head
    else {
        return None;
    };
    let (year, month, day) = (two(y0, y1)? * 100 + two(y2, y3)?, two(m0, m1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(n0, n1)?, two(s0, s1)?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut ms = days(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000;
    if let [b'.', fraction @ ..] = rest {
        let length = fraction.iter().position(|byte| !byte.is_ascii_digit())?;
        if length == 0 {
            return None;
        }
        for (digit, unit) in fraction.get(..length)?.iter().zip([100, 10, 1]) {
            ms += i64::from(digit - b'0') * unit;
        }
        rest = fraction.get(length..)?;
    }
    match *rest {
        [b'Z' | b'z'] => {}
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (two(h0, h1)?, two(m0, m1)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset_ms = (hours * 60 + minutes) * 60_000;
            ms += if sign == b'-' { offset_ms } else { -offset_ms };
        }
        _ => return None,
    }
    (0..=EVENT_TIME_MS_MAX).contains(&ms).then_some(ms)
}

/// Append an instant in UTC: whole seconds as `2026-11-01T00:00:00Z`, others with three decimals.
pub fn write(out: &mut Vec<u8>, instant_ms: i64) {
    let (year, month, day) = date(instant_ms.div_euclid(DAY_MS));
    let ms = instant_ms.rem_euclid(DAY_MS);
    let (hour, minute, second, ms) = (ms / HOUR_MS, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    out.extend_from_slice(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}").as_bytes());
    if ms != 0 {
        out.extend_from_slice(format!(".{ms:03}").as_bytes());
    }
    out.push(b'Z');
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day is last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// The inverse of `days`.
fn date(days: i64) -> (i64, i64, i64) {
    // 400 years have 146,097 days.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}
