//! The limiter: bursts, refills, and room for newcomers.

use std::time::Duration;

use portreeve_epic::rate::Limiter;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn burst_is_let_through_and_then_the_rate() {
    let mut limiter = Limiter::new(10, 3, 8);
    for (at, answer) in [
        (1000, Ok(())),
        (1000, Ok(())),
        (1000, Ok(())),
        (1000, Err(ms(100))),
        (1040, Err(ms(60))),
        (1100, Ok(())),
        (1100, Err(ms(100))),
        (9000, Ok(())),
        (9000, Ok(())),
        (9000, Ok(())),
        (9000, Err(ms(100))),
    ] {
        assert_eq!(limiter.take("u", ms(at)), answer, "at {at} ms");
    }
}

#[test]
fn each_name_has_a_bucket() {
    let mut limiter = Limiter::new(1, 1, 8);
    assert_eq!(limiter.take("a", ms(0)), Ok(()));
    assert_eq!(limiter.take("a", ms(0)), Err(ms(1000)));
    assert_eq!(limiter.take("b", ms(0)), Ok(()));
    assert_eq!(limiter.take("", ms(0)), Ok(()));
}

#[test]
fn newcomer_takes_the_room_of_a_full_bucket_or_waits() {
    let mut limiter = Limiter::new(1, 2, 2);
    assert!(limiter.is_empty());
    assert_eq!(limiter.take("a", ms(0)), Ok(()));
    assert_eq!(limiter.take("b", ms(500)), Ok(()));
    assert_eq!(limiter.take("c", ms(600)), Err(ms(400)), "a is full at 1000");
    assert_eq!(limiter.take("a", ms(600)), Ok(()), "those that came before aren't held up");
    assert_eq!(limiter.take("c", ms(1500)), Ok(()), "b is full");
    assert_eq!(limiter.len(), 2);
    assert_eq!(limiter.take("b", ms(1500)), Err(ms(500)), "a is full at 2000");
}

#[test]
fn flood_of_names_takes_no_more_than_the_limit() {
    let mut limiter = Limiter::new(1, 5, 100);
    let taken = (0..100_000).filter(|at| limiter.take(&format!("peer {at}"), ms(0)).is_ok()).count();
    assert_eq!((taken, limiter.len()), (100, 100));
    let long = "é".repeat(1_000_000);
    assert_eq!(limiter.take(&long, ms(1000)), Ok(()));
    assert_eq!(limiter.take(&format!("{long}x"), ms(1000)), Ok(()), "it shares the bucket");
}

#[test]
fn extreme_numbers_do_no_harm() {
    let mut limiter = Limiter::new(0, 0, 0);
    assert_eq!((limiter.take("a", ms(0)), limiter.take("a", ms(0))), (Ok(()), Err(ms(1000))));
    assert_eq!(limiter.take("b", ms(0)), Err(ms(1000)));
    assert_eq!(limiter.take("b", ms(1000)), Ok(()));
    let mut limiter = Limiter::new(u32::MAX, u32::MAX, usize::MAX);
    assert!(limiter.take("a", Duration::MAX).is_ok() && limiter.take("a", ms(0)).is_err());
    let mut limiter = Limiter::new(1, u32::MAX, 1);
    assert_eq!(limiter.take("a", Duration::MAX), Ok(()));
}

#[test]
fn no_second_lets_more_through_than_burst_and_rate() {
    let mut random = StdRng::seed_from_u64(4);
    let (mut limiter, mut now, mut taken) = (Limiter::new(20, 7, 4), 0, Vec::new());
    for _ in 0..20_000 {
        now += random.random_range(0..40);
        match limiter.take("u", ms(now)) {
            Ok(()) => taken.push(now),
            Err(wait) => assert!(wait <= ms(50) && limiter.clone().take("u", ms(now) + wait).is_ok()),
        }
    }
    assert!(taken.windows(28).all(|times| times[27] - times[0] >= 1000), "28 within a second");
    assert!(taken.len() > 1000);
}
