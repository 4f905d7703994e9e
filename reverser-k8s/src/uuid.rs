//! Uids as Kubernetes writes them.

/// Returns the number that a UUID is, in the one way in which Kubernetes writes them (RFC 9562): two texts are never one uid.
pub(crate) fn uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    (bytes.len() == 36).then_some(())?;
    bytes.iter().enumerate().try_fold(0, |uuid, (index, &byte)| match (index, byte) {
        (8 | 13 | 18 | 23, b'-') => Some(uuid),
        (8 | 13 | 18 | 23, _) => None,
        (_, b'0'..=b'9') => Some(uuid << 4 | u128::from(byte - b'0')),
        (_, b'a'..=b'f') => Some(uuid << 4 | u128::from(byte - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

    #[test]
    fn a_uuid_is_the_number_that_it_writes_and_anything_else_is_none() {
        assert_eq!(uuid(UID), Some(0x0a1b_2c3d_4e5f_6071_8293_a4b5_c6d7_e8f9));
        for uid in ["", "0", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f90"] {
            assert_eq!(uuid(uid), None, "{uid}");
        }
        assert_eq!(uuid(&UID.to_uppercase()), None, "API servers write them in lower case: these are others");
        assert_eq!(uuid(&UID.replace('-', "0")), None);
    }
}
