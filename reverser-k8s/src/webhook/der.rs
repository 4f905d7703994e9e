//! What a certificate says itself: how long it is valid, and whose key it is about.

use jiff::Timestamp;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// Reads it from a certificate in DER, which somebody else verifies; `None`: it isn't one. RFC 5280, section 4.1.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (validity, _) = element(behind_issuer(certificate)?, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }
}

/// Returns the public key in a certificate of any version, a `SubjectPublicKeyInfo` in DER; `None`: it is no certificate.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut fields = behind_issuer(certificate)?;
    for _of in ["the validity", "the subject"] {
        (_, fields) = element(fields, SEQUENCE)?;
    }
    let (_, behind) = element(fields, SEQUENCE)?;
    fields.strip_suffix(behind)
}

/// Returns the fields of a certificate from its validity on.
fn behind_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_version, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    // The serial number, the signature's algorithm, the issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    Some(fields)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`
const VERSION: u8 = 0xa0;

/// Returns the content of the element with this tag at the beginning, and what comes behind it. X.690, section 8.1.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = input.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match usize::from(length) {
        short @ ..=0x7f => (short, rest),
        // So many bytes hold the length; four are enough for any file.
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Reads `YYMMDDHHMMSSZ` up to 2049 and `YYYYMMDDHHMMSSZ` from then on. RFC 5280, section 4.1.2.5.
fn time(input: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (century, (digits, rest)) = match element(input, UTC_TIME) {
        Some((digits, rest)) if *digits.first()? >= b'5' => ("19", (digits, rest)),
        Some(found) => ("20", found),
        None => ("", element(input, GENERALIZED_TIME)?),
    };
    let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
    if text.starts_with("9999") {
        // Never, by RFC 5280; later than there are timestamps.
        return Some((Timestamp::MAX, rest));
    }
    let format = "%Y%m%d%H%M%SZ";
    let civil = jiff::civil::DateTime::strptime(format, text).ok()?;
    Some((civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(), rest))
}

/// Returns a certificate as one of version 1, which has no extensions, without a signature that would be right.
#[cfg(test)]
pub(super) fn as_version_1(certificate: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = element(certificate, SEQUENCE)?;
    let (_, signature) = element(content, SEQUENCE)?;
    let (_version, fields) = element(element(content, SEQUENCE)?.0, VERSION)?;
    let key = public_key(certificate)?;
    let end = fields.windows(key.len()).position(|window| window == key)? + key.len();
    let wrapped = |content: &[u8]| {
        let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
        // The shortest spelling is the right one.
        let length = if high == 0 { vec![0x81, low] } else { vec![0x82, high, low] };
        Some([&[SEQUENCE][..], &length, content].concat())
    };
    wrapped(&[&wrapped(&fields[..end])?, signature].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(from: &str, until: &str) -> Vec<u8> {
        let time = |text: &str| std::time::SystemTime::from(text.parse::<Timestamp>().unwrap()).into();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (time(from), time(until));
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificates_validity_is_read_in_both_spellings_of_years() {
        for (from, until) in [
            ("1999-12-31T23:59:59Z", "2049-12-31T23:59:59Z"),
            ("2026-02-28T00:00:00Z", "2050-01-01T00:00:00Z"),
            ("1951-01-01T00:00:00Z", "2126-11-21T20:40:01Z"),
        ] {
            let expected = Validity { from: from.parse().unwrap(), until: until.parse().unwrap() };
            assert_eq!(Validity::of(&made(from, until)), Some(expected));
        }
        // Without an end: RFC 5280, section 4.1.2.5.
        let mut endless = made("2026-01-01T00:00:00Z", "2050-01-01T00:00:00Z");
        let end = endless.windows(15).position(|text| text == b"20500101000000Z").unwrap();
        endless[end..end + 15].copy_from_slice(b"99991231235959Z");
        assert_eq!(Validity::of(&endless).map(|validity| validity.until), Some(Timestamp::MAX));
    }

    #[test]
    fn the_key_of_a_certificate_is_read_whatever_version_it_is() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let expected = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert_eq!(public_key(&certificate), Some(&*expected));
        let old = as_version_1(&certificate).unwrap();
        assert_eq!((public_key(&old), Validity::of(&old)), (Some(&*expected), Validity::of(&certificate)));
        assert!((0..certificate.len()).all(|length| public_key(&certificate[..length]).is_none()));
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_has_no_validity() {
        let whole = made("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        for length in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..length]), None, "{length}");
        }
        for other in [&b""[..], b"-----BEGIN CERTIFICATE-----", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80]] {
            assert_eq!(Validity::of(other), None);
        }
    }
}
