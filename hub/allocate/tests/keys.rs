//! Each tunnel key has one owner.

use portreeve_allocate::Owner;
use portreeve_allocate::keys::{KeyError, Keys, SharedKey};
use portreeve_api::c::tunnel_key::TunnelKey;

/// The bytes of the seed's key (C.4 "Bytes").
const BYTES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn lb(name: &str) -> Owner {
    Owner::new("LoadBalancer", "epic-a", name)
}

#[test]
fn fresh_key_is_nobody_elses_and_stays_its_owners() {
    let mut keys = Keys::default();
    let key = keys.allocate(&lb("a"), BYTES).unwrap();
    assert_eq!((keys.owner_of(&key), keys.key_of(&lb("a"))), (Some(&lb("a")), Some(key)));
    assert_eq!(keys.allocate(&lb("a"), [9; 16]), Ok(key), "an owner keeps its key");
    let taken = KeyError::Taken { owner: lb("b"), holder: lb("a") };
    assert_eq!(keys.allocate(&lb("b"), BYTES), Err(taken));
    assert_eq!(keys.allocate(&lb("b"), [0; 16]), Err(KeyError::Zero { owner: lb("b") }));
    assert_eq!(keys.key_of(&lb("b")), None);
    assert_eq!((keys.release(&lb("a")), keys.release(&lb("a"))), (Some(key), None));
    assert_eq!(keys.allocate(&lb("b"), BYTES), Ok(key));
}

#[test]
fn stored_key_that_two_objects_have_is_reported_with_both() {
    let (mut keys, key) = (Keys::default(), TunnelKey::from(BYTES));
    assert_eq!(keys.claim(&lb("a"), key), Ok(()));
    assert_eq!(keys.claim(&lb("a"), key), Ok(()), "again");
    assert_eq!(keys.claim(&lb("b"), key), Err(SharedKey { holder: lb("a"), owner: lb("b") }));
    assert_eq!(keys.claim(&lb("a"), TunnelKey::from([1; 16])), Ok(()), "changed");
    assert_eq!(keys.claim(&lb("b"), key), Ok(()));
    assert_eq!(keys.owner_of(&key), Some(&lb("b")));
}
