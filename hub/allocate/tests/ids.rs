//! Ids: their bounds, their order, and that only a stored counter yields one.

use portreeve_allocate::ids::{
    Answer, Draw, GroupId, Id, IdKind, Reading, ServiceId, Stored, TunnelId, UsedUp, draw,
};

const PARENT: &str = "Account epic-a/a";

fn reading(counter: Option<u32>) -> Reading<'static> {
    Reading { parent: PARENT, version: "7", counter }
}

fn drawn<I: Id>(counter: Option<u32>, existing: &[(u32, &str)]) -> Result<u32, UsedUp> {
    draw::<I>(reading(counter), existing.iter().copied()).map(|draw| draw.counter())
}

fn stored<I: Id>(draw: Draw<I>) -> Stored<I> {
    let answer = Answer { version: "8", counter: Some(draw.counter()) };
    draw.confirm(answer).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn next_id_follows_the_counter_and_every_existing_id() {
    for (counter, existing, next) in [
        (None, &[][..], 1),
        (Some(0), &[], 1),
        (Some(1), &[], 2),
        (Some(9), &[(3, "a"), (9, "b")], 10),
        (Some(9), &[(3, "a"), (12, "b"), (11, "c")], 13),
        (None, &[(12, "b")], 13),
        (Some(65_534), &[], 65_535),
    ] {
        assert_eq!(drawn::<GroupId>(counter, existing), Ok(next), "{counter:?} {existing:?}");
        assert_eq!(drawn::<ServiceId>(counter, existing), Ok(next), "{counter:?} {existing:?}");
        assert_eq!(drawn::<TunnelId>(counter, existing), Ok(next), "{counter:?} {existing:?}");
    }
}

#[test]
fn last_id_is_handed_out_and_none_follows() {
    let tunnels = i32::MAX.unsigned_abs();
    assert_eq!(drawn::<TunnelId>(Some(65_535), &[]), Ok(65_536));
    assert_eq!(drawn::<TunnelId>(Some(tunnels - 1), &[]), Ok(tunnels));
    for counter in [65_535, 65_536, u32::MAX] {
        assert!(drawn::<GroupId>(Some(counter), &[]).is_err(), "{counter}");
        assert!(drawn::<ServiceId>(Some(counter), &[]).is_err(), "{counter}");
    }
    assert!(drawn::<TunnelId>(Some(tunnels), &[]).is_err());
    assert!(drawn::<TunnelId>(Some(u32::MAX), &[]).is_err());
    assert!(drawn::<ServiceId>(Some(3), &[(65_535, "a")]).is_err());
}

#[test]
fn id_that_is_never_handed_out_does_not_end_the_counter() {
    assert_eq!(drawn::<ServiceId>(Some(3), &[(65_536, "a"), (u32::MAX, "b")]), Ok(4));
    assert_eq!(drawn::<TunnelId>(Some(3), &[(u32::MAX, "b"), (5, "a")]), Ok(6));
}

#[test]
fn number_becomes_an_id_only_within_its_bounds() {
    assert_eq!(GroupId::from_number(0), None);
    assert_eq!(GroupId::from_number(65_536), None);
    assert_eq!(GroupId::from_number(65_535).map(GroupId::get), Some(65_535));
    assert_eq!(ServiceId::from_number(0), None);
    assert_eq!(ServiceId::from_number(65_536), None);
    assert_eq!(ServiceId::from_number(1).map(ServiceId::get), Some(1));
    assert_eq!(TunnelId::from_number(0), None);
    assert_eq!(TunnelId::from_number(1 << 31), None);
    assert_eq!(TunnelId::from_number((1 << 31) - 1).map(TunnelId::get), Some(2_147_483_647));
}

#[test]
fn write_carries_the_version_that_was_read_and_its_answer_yields_the_id() {
    let draw = draw::<ServiceId>(reading(Some(4)), []).unwrap();
    assert_eq!((draw.counter(), draw.version()), (5, "7"));
    assert_eq!(stored(draw).into_id().get(), 5);
}

#[test]
fn answer_without_the_counter_yields_no_id() {
    for (version, counter) in [("8", Some(4)), ("8", None), ("8", Some(6)), ("7", Some(5)), ("7", Some(4))] {
        let draw = draw::<ServiceId>(reading(Some(4)), []).unwrap();
        let error = draw.confirm(Answer { version, counter }).unwrap_err();
        assert_eq!((error.written, error.found, &*error.version), (5, counter, version));
    }
}

#[test]
fn sixteen_bit_ids_above_the_pingers_are_warned_of() {
    fn warned<I: Id>(id: u32) -> Option<u32> {
        let draw = draw::<I>(reading(Some(id - 1)), []).unwrap();
        stored(draw).warning().map(|warning| warning.id)
    }
    assert_eq!(warned::<ServiceId>(32_767), None);
    assert_eq!(warned::<ServiceId>(32_768), Some(32_768));
    assert_eq!(warned::<GroupId>(65_535), Some(65_535));
    assert_eq!(warned::<TunnelId>(2_147_483_647), None);
}

#[test]
fn counters_are_named_as_in_the_objects() {
    let fields = [IdKind::Group, IdKind::Service, IdKind::Tunnel].map(IdKind::field);
    assert_eq!(fields, ["status.current-group-id", "status.current-service-id", "status.current-tunnel-id"]);
}
