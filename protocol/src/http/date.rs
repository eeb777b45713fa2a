//! The `date` field (RFC 9110 section 6.6.1), written once a second and copied from then on.

/// Length of an IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`, in bytes.
const TEXT_BYTES: usize = 29;
const LINE_BYTES: usize = "date: ".len() + TEXT_BYTES + "\r\n".len();
const TEMPLATE: &[u8; LINE_BYTES] = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed"; // the epoch was a Thursday
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// Seconds from the epoch to the year 10000, which an IMF-fixdate cannot say.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A point in time as responses carry it. The caller owns one and sets it from the wall clock as often as it likes;
/// only a new second costs anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    seconds: u64,
    line: [u8; LINE_BYTES],
}

impl Date {
    /// The date `seconds` after the Unix epoch.
    pub fn new(seconds: u64) -> Date {
        let mut date = Date { seconds: 0, line: *TEMPLATE };
        date.set(seconds);
        date
    }

    /// Makes it the date `seconds` after the Unix epoch; a time past the year 9999 is taken for its last second.
    pub fn set(&mut self, seconds: u64) {
        if seconds != self.seconds {
            self.seconds = seconds;
            self.format(seconds.min(SECONDS_MAX));
        }
    }

    /// Its 29 characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.line[6..6 + TEXT_BYTES]
    }

    /// The whole field line, CRLF included.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    fn format(&mut self, seconds: u64) {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (weekday, month) = ((days % 7) as usize * 3, (month as usize - 1) * 3);
        let line = &mut self.line;
        line[6..9].copy_from_slice(&DAYS[weekday..weekday + 3]);
        two_digits(&mut line[11..13], day);
        line[14..17].copy_from_slice(&MONTHS[month..month + 3]);
        two_digits(&mut line[18..20], year / 100);
        two_digits(&mut line[20..22], year % 100);
        two_digits(&mut line[23..25], second / 3600);
        two_digits(&mut line[26..28], second / 60 % 60);
        two_digits(&mut line[29..31], second % 60);
    }
}

fn two_digits(out: &mut [u8], value: u64) {
    out[0] = b'0' + (value / 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

/// Year, month and day of the month, `days` after 1 January 1970. Counted from 1 March of the year 0, so that the
/// leap day comes last; eras of 400 years have 146,097 days (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}
