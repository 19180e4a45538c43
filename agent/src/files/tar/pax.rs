//! Extended headers: records of a length, a name and a value.

/// Appends the record `name=value`. Its length counts its own digits.
pub(crate) fn record(name: &[u8], value: &[u8], output: &mut Vec<u8>) {
    // A blank, the equals sign, the end of the line.
    let rest = name.len() + value.len() + 3;
    let mut length = rest;
    loop {
        let digits = length.to_string().len();
        if rest + digits == length {
            break;
        }
        length = rest + digits;
    }
    output.extend_from_slice(length.to_string().as_bytes());
    output.push(b' ');
    output.extend_from_slice(name);
    output.push(b'=');
    output.extend_from_slice(value);
    output.push(b'\n');
}

/// The records of a header; an error where it is none.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), ()>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = first(bytes);
        bytes = match &record {
            Some((_, _, rest)) => rest,
            None => &[],
        };
        Some(record.map(|(name, value, _)| (name, value)).ok_or(()))
    })
}

/// Name and value of the first record, and what comes behind it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let length = std::str::from_utf8(bytes.get(..blank)?).ok()?;
    let length: usize = length.parse().ok()?;
    let record = bytes.get(blank + 1..length)?;
    let (b'\n', record) = record.split_last()? else {
        return None;
    };
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let value = record.get(equals + 1..)?;
    Some((record.get(..equals)?, value, bytes.get(length..)?))
}

/// Seconds and nanoseconds from a decimal fraction; what is finer than nanoseconds does not count.
pub(crate) fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.get(..9.min(fraction.len()))?;
    let nanoseconds: u32 = format!("{digits:0<9}").parse().ok()?;
    match whole.starts_with('-') && nanoseconds > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        false => Some((seconds, nanoseconds)),
    }
}
