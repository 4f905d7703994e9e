//! Private keys that are signed with in process.

use std::fs;

use reverser_git::{Remedy, SignError, Signer, SshSigner};

use crate::{
    bed::Bed,
    tools::{run, ssh_key, ssh_verifies, tool},
};

/// OpenSSH leaves out leading zeros, which half of the nistp521 keys have, and Go breaks lines after 64 characters.
#[tokio::test]
async fn ecdsa_keys_are_read_however_short_and_however_they_are_wrapped() {
    let bed = Bed::new().await;
    for n in 0..8 {
        let key = bed.folder(&format!("key-{n}"));
        let passphrase = if n % 2 == 0 { "" } else { "a phrase" };
        ssh_key(&key, "ecdsa-521", passphrase);
        let text = fs::read_to_string(&key).unwrap();
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        for text in [text.trim_end().to_owned(), text.replace('\n', "\r\n"), wrapped(&text, 64)] {
            let signer = SshSigner::from_openssh(&text, Some(passphrase)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(public, format!("{} bot@example.com\n", signer.public_key()));
        }
        let signature = SshSigner::from_openssh(&text, Some(passphrase)).unwrap().sign(b"payload").unwrap();
        assert!(ssh_verifies(&bed.folder("."), b"payload", &signature), "{text}");
    }
}

#[tokio::test]
async fn every_cipher_of_openssh_is_decrypted_but_for_one_that_is_named() {
    let bed = Bed::new().await;
    let ciphers = ["aes128-cbc", "aes256-cbc", "aes256-ctr", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"];
    for (n, cipher) in ciphers.into_iter().enumerate() {
        let key = bed.folder(&format!("key-{n}"));
        ssh_key(&key, "ed25519", "");
        let mut change = tool("ssh-keygen", "openssh-client");
        run(change.args(["-q", "-p", "-a", "1", "-P", "", "-N", "a phrase", "-Z", cipher, "-f"]).arg(&key));
        let text = fs::read_to_string(&key).unwrap();
        let signer =
            SshSigner::from_openssh(&text, Some("a phrase")).unwrap_or_else(|error| panic!("{cipher}: {error}"));
        assert!(ssh_verifies(&bed.folder("."), b"payload", &signer.sign(b"payload").unwrap()), "{cipher}");
        let error = SshSigner::from_openssh(&text, Some("wrong")).unwrap_err();
        assert!(matches!(error, SignError::Passphrase { .. }), "{cipher}: {error:?}");
    }
    let key = bed.folder("key-old");
    ssh_key(&key, "ed25519", "");
    let mut change = tool("ssh-keygen", "openssh-client");
    run(change.args(["-q", "-p", "-a", "1", "-P", "", "-N", "a phrase", "-Z", "3des-cbc", "-f"]).arg(&key));
    let error = SshSigner::from_openssh(&fs::read_to_string(&key).unwrap(), Some("a phrase")).unwrap_err().to_string();
    assert!(error.contains("3des-cbc") && error.contains("ssh-keygen -p -f FILE"), "{error}");
}

#[tokio::test]
async fn a_key_that_does_not_open_is_named_and_nothing_of_it_is_shown() {
    let bed = Bed::new().await;
    let (key, rsa, passphrase) = (bed.folder("key"), bed.folder("rsa"), bed.folder("passphrase"));
    ssh_key(&key, "ed25519", "right phrase");
    ssh_key(&rsa, "rsa-2048", "");
    fs::write(&passphrase, "s3cret").unwrap();
    let pem = bed.folder("pem");
    ssh_key(&pem, "ecdsa-256", "");
    run(tool("ssh-keygen", "openssh-client").args(["-q", "-p", "-m", "PEM", "-P", "", "-N", "", "-f"]).arg(&pem));

    let wrong = SshSigner::open(&key, Some(passphrase.clone())).unwrap_err();
    assert!(matches!(wrong, SignError::Passphrase { .. }), "{wrong:?}");
    let none = SshSigner::open(&key, None).unwrap_err();
    assert!(matches!(none, SignError::Encrypted { .. }), "{none:?}");
    let algorithm = SshSigner::open(&rsa, None).unwrap_err();
    assert_eq!(
        algorithm.to_string(),
        format!("{} is for ssh-rsa: take an ed25519 or ecdsa key, or let ssh-keygen sign", rsa.display())
    );
    let public = SshSigner::open(key.with_extension("pub"), None).unwrap_err();
    let other_format = SshSigner::open(&pem, None).unwrap_err();
    let missing = SshSigner::open(bed.folder("missing"), None).unwrap_err();
    let no_passphrase = SshSigner::open(&key, Some(bed.folder("missing"))).unwrap_err();
    for error in [&public, &other_format] {
        assert!(matches!(error, SignError::Key { .. }), "{error:?}");
        assert!(error.to_string().contains("ssh-keygen -p -f FILE"), "{error}");
    }
    assert!(matches!(missing, SignError::Read { .. }) && matches!(no_passphrase, SignError::Read { .. }));
    let folder = bed.folder(".");
    for error in [wrong, none, algorithm, public, other_format, missing, no_passphrase] {
        assert!(error.to_string().contains(folder.parent().unwrap().to_str().unwrap()), "{error}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }

    // What the advice says helps.
    run(tool("ssh-keygen", "openssh-client").args(["-q", "-p", "-P", "", "-N", "", "-f"]).arg(&pem));
    SshSigner::open(&pem, None).unwrap();
    fs::write(&passphrase, "right phrase\r\n").unwrap();
    let signer = SshSigner::open(&key, Some(passphrase)).unwrap();
    let shown = format!("{signer:?}");
    assert!(shown.contains("ssh-ed25519 AAAA") && !shown.contains("right phrase"), "{shown}");
}

/// Breaks the lines of armor elsewhere.
fn wrapped(armored: &str, width: usize) -> String {
    let lines: Vec<_> = armored.lines().collect();
    let body: Vec<_> = lines[1..lines.len() - 1].concat().into_bytes();
    let body: Vec<_> = body.chunks(width).map(String::from_utf8_lossy).collect();
    format!("{}\n{}\n{}\n", lines[0], body.join("\n"), lines[lines.len() - 1])
}
