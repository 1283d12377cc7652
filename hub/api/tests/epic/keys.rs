//! Tunnel keys: their text, and that errors and debug output don't show it.

use portreeve_api::c::tunnel_key::{ParseKeyError, TunnelKey};

/// The seed's key (C.4 "Bytes").
const TEXT: &str = "AAECAwQFBgcICQoLDA0ODw==";
const BYTES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[test]
fn text_and_bytes_are_inverses() {
    assert_eq!(TEXT.parse(), Ok(TunnelKey::from(BYTES)));
    assert_eq!(TunnelKey::from(BYTES).to_string(), TEXT);
    for step in 0..=255_u8 {
        let bytes: [u8; 16] = std::array::from_fn(|at| step.wrapping_mul(at as u8 + 3).wrapping_add(step));
        let key: TunnelKey = TunnelKey::from(bytes).to_string().parse().unwrap();
        assert_eq!(key.bytes(), &bytes);
    }
}

#[test]
fn other_lengths_and_other_texts_are_refused() {
    for (text, length) in
        [("", 0), ("AA==", 1), ("AAECAwQFBgcICQoLDA0O", 15), ("AAECAwQFBgcICQoLDA0ODxA=", 17)]
    {
        assert_eq!(text.parse::<TunnelKey>(), Err(ParseKeyError::Length(length)), "{text}");
    }
    for text in [
        "AAECAwQFBgcICQoLDA0ODw",
        "AAECAwQFBgcICQoLDA0ODw=",
        "AAECAwQFBgcICQoLDA0ODx==",
        " AAECAwQFBgcICQoLDA0ODw==",
        "AAECAwQFBgcICQoLDA0ODw==\n",
        "__ECAwQFBgcICQoLDA0ODw==",
        "hunter2",
    ] {
        assert_eq!(text.parse::<TunnelKey>(), Err(ParseKeyError::NotBase64), "{text}");
    }
}

#[test]
fn refusal_says_what_to_write_and_keeps_the_text_secret() {
    let refusal = |text: &str| text.parse::<TunnelKey>().unwrap_err().to_string();
    assert_eq!(
        refusal("AA=="),
        "a tunnel key must be 16 bytes in base64 with padding, but this one has 1: take the output of `openssl rand -base64 \
         16`, or leave the key empty to get one"
    );
    assert_eq!(
        refusal("hunter2"),
        "a tunnel key must be 16 bytes in base64 with padding, but this text is no such base64: take the output of `openssl \
         rand -base64 16`, or leave the key empty to get one"
    );
}

#[test]
fn debug_output_keeps_the_key_secret() {
    assert_eq!(format!("{:?}", Some(TunnelKey::from(BYTES))), "Some(TunnelKey(..))");
}
