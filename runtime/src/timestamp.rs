//! Times as people and the database read them, always in UTC and with milliseconds. Inside the queue a time is a number
//! of milliseconds since the Unix epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// `2026-11-24T02:42:51.007Z`, as the API writes it (RFC 3339).
pub fn rfc3339(ms: u64) -> String {
    let mut text = digits(ms, b'T');
    text.push('Z');
    text
}

/// `2026-11-24 02:42:51.007`, as `job_status` holds it. Texts sort as their times do.
pub fn sql(ms: u64) -> String {
    digits(ms, b' ')
}

/// Reads what [`sql`] wrote.
///
/// # Errors
///
/// If `text` is no such timestamp, or from before 1970.
pub fn parse_sql(text: &str) -> Result<u64, String> {
    let time: DateTime = text.parse().map_err(|error| format!("{text:?} is no timestamp: {error}"))?;
    let timestamp = Offset::UTC.to_timestamp(time).map_err(|error| format!("{text:?} is out of range: {error}"))?;
    u64::try_from(timestamp.as_millisecond()).map_err(|_| format!("{text:?} is before 1970"))
}

/// `YYYY-MM-DD?HH:MM:SS.mmm`. Written digit by digit, because every claim and settle needs it. Times beyond the calendar
/// (the year 9999) are written as its end, so that every number has a text.
fn digits(ms: u64, separator: u8) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = Offset::UTC.to_datetime(timestamp.unwrap_or(Timestamp::MAX));
    let mut text = *b"0000-00-00 00:00:00.000";
    text[10] = separator;
    write(&mut text[0..4], i32::from(time.year()));
    write(&mut text[5..7], i32::from(time.month()));
    write(&mut text[8..10], i32::from(time.day()));
    write(&mut text[11..13], i32::from(time.hour()));
    write(&mut text[14..16], i32::from(time.minute()));
    write(&mut text[17..19], i32::from(time.second()));
    write(&mut text[20..23], time.subsec_nanosecond() / 1_000_000);
    String::from_utf8(text.to_vec()).expect("digits and separators are ASCII")
}

/// Writes `number` to the end of `places`, which hold zeros.
fn write(places: &mut [u8], mut number: i32) {
    for place in places.iter_mut().rev() {
        *place += (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_people_write_it() {
        assert_eq!(sql(0), "1970-01-01 00:00:00.000");
        assert_eq!(sql(951_827_696_789), "2000-02-29 12:34:56.789");
        assert_eq!(rfc3339(1_795_488_171_007), "2026-11-24T02:42:51.007Z");
    }

    #[test]
    fn every_number_has_a_text() {
        assert_eq!(sql(u64::MAX), "9999-12-30 22:00:00.999");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0u64..253_402_207_200_000) {
            proptest::prop_assert_eq!(parse_sql(&sql(ms)), Ok(ms));
        }

        #[test]
        fn texts_sort_as_their_times_do(a in 0u64..253_402_207_200_000, b in 0u64..253_402_207_200_000) {
            proptest::prop_assert_eq!(sql(a).cmp(&sql(b)), a.cmp(&b));
        }
    }
}
