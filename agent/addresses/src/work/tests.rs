use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const MS: Duration = Duration::from_millis(1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn set(addresses: &[IpAddr]) -> BTreeSet<IpAddr> {
    addresses.iter().copied().collect()
}

fn many(number: u8) -> BTreeSet<IpAddr> {
    (0..number).map(|last| IpAddr::from([198, 51, 100, last])).collect()
}

fn probe(addresses: &[IpAddr]) -> Job {
    Job::Probe(set(addresses))
}

fn failed() -> Probed {
    Probed::Failed("the interface is down".to_owned())
}

/// The jobs that begin to take addresses.
fn taking(work: &mut Work, take: &BTreeSet<IpAddr>, now: Instant) -> Vec<Job> {
    work.begin(take, &BTreeSet::new(), now)
}

/// Ends a probe with the same result for all its addresses.
fn end(work: &mut Work, probed: &BTreeSet<IpAddr>, result: &Probed, now: Instant) {
    work.end_probe(&probed.iter().map(|address| (*address, result.clone())).collect(), now);
}

#[test]
fn address_is_probed_and_then_claimed_once_at_a_time() {
    let (mut work, now, take) = (Work::default(), Instant::now(), set(&[A, B]));
    assert_eq!(taking(&mut work, &take, now), [probe(&[A, B])]);
    assert_eq!(taking(&mut work, &take, now + 100 * MS), []);
    work.end_probe(&[(A, Probed::Free), (B, Probed::Foreign(MAC))].into(), now + 200 * MS);
    assert_eq!(taking(&mut work, &take, now + 200 * MS), [Job::Claim(A)]);
    assert_eq!(taking(&mut work, &take, now + 300 * MS), []);
    work.end_request(A, true, now + 300 * MS);
    assert_eq!(taking(&mut work, &set(&[B]), now + 300 * MS), [], "the judge has A as claimed");
}

#[test]
fn foreign_address_is_probed_after_growing_pauses_and_delays_no_other() {
    let (mut work, begun, take) = (Work::default(), Instant::now(), set(&[A]));
    let (mut now, mut asked) = (begun, Vec::new());
    while now < begun + 60_000 * MS {
        for job in taking(&mut work, &take, now) {
            asked.push(now.duration_since(begun).as_millis());
            let Job::Probe(probed) = job else { panic!("{job:?}") };
            end(&mut work, &probed, &Probed::Foreign(MAC), now);
        }
        now += 100 * MS;
    }
    assert_eq!((&asked[..4], asked.len()), (&[0, 500, 1500, 2500][..], 61));
    assert_eq!(taking(&mut work, &set(&[A, B]), now - 100 * MS), [probe(&[B])]);
}

#[test]
fn pause_of_a_foreign_address_is_forgotten_once_it_was_free_or_is_not_wanted() {
    let forget: [fn(&mut Work, Instant); 2] = [
        |work, now| {
            end(work, &set(&[A]), &Probed::Free, now);
            assert_eq!(taking(work, &set(&[A]), now), [Job::Claim(A)]);
            work.end_request(A, true, now);
        },
        |work, now| {
            end(work, &set(&[A]), &Probed::Foreign(MAC), now);
            work.retain(|address| address != A);
        },
    ];
    for forget in forget {
        let (mut work, mut now) = (Work::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(taking(&mut work, &set(&[A]), now), [probe(&[A])]);
            end(&mut work, &set(&[A]), &Probed::Foreign(MAC), now);
            now += FOREIGN[1];
        }
        assert_eq!(taking(&mut work, &set(&[A]), now), [probe(&[A])]);
        forget(&mut work, now);
        assert_eq!(taking(&mut work, &set(&[A]), now), [probe(&[A])]);
        end(&mut work, &set(&[A]), &Probed::Foreign(MAC), now);
        assert_eq!(taking(&mut work, &set(&[A]), now + FOREIGN[0]), [probe(&[A])], "the first pause again");
    }
}

#[test]
fn failed_jobs_pause_and_every_claim_follows_a_new_probe() {
    let (mut work, now, take) = (Work::default(), Instant::now(), set(&[A]));
    taking(&mut work, &take, now);
    end(&mut work, &take, &failed(), now);
    assert_eq!(taking(&mut work, &take, now + FAILED[0] - MS), []);
    let now = now + FAILED[0];
    assert_eq!(taking(&mut work, &take, now), [probe(&[A])]);
    end(&mut work, &take, &Probed::Free, now);
    assert_eq!(taking(&mut work, &take, now), [Job::Claim(A)]);
    work.end_request(A, false, now);
    assert_eq!(taking(&mut work, &take, now + 2 * FAILED[0] - MS), []);
    assert_eq!(taking(&mut work, &take, now + 2 * FAILED[0]), [probe(&[A])]);
}

#[test]
fn result_of_a_probe_counts_while_it_is_new_and_the_address_is_to_be_taken() {
    for (after, take, expected) in [
        (VALID - MS, set(&[A]), vec![Job::Claim(A)]),
        (VALID, set(&[A]), vec![probe(&[A])]),
        (MS, set(&[]), vec![]),
        (MS, set(&[B]), vec![probe(&[B])]),
    ] {
        let (mut work, now) = (Work::default(), Instant::now());
        taking(&mut work, &set(&[A]), now);
        end(&mut work, &set(&[A]), &Probed::Free, now);
        assert_eq!(taking(&mut work, &take, now + after), expected, "{after:?} {take:?}");
    }
}

#[test]
fn claim_that_came_too_late_is_given_up_and_its_address_waits_for_that() {
    let (mut work, now) = (Work::default(), Instant::now());
    taking(&mut work, &set(&[A]), now);
    end(&mut work, &set(&[A]), &Probed::Free, now);
    assert_eq!(taking(&mut work, &set(&[A]), now), [Job::Claim(A)]);
    assert!(!work.may_give(A, now), "it is being claimed");
    assert_eq!(work.begin(&set(&[]), &set(&[A]), now), []);
    work.end_request(A, true, now);
    assert!(work.may_give(A, now) && !work.is_giving(A));
    assert_eq!(work.begin(&set(&[]), &set(&[A]), now), [Job::Give(A)]);
    assert!(work.is_giving(A) && !work.may_give(A, now));
    assert_eq!(work.begin(&set(&[A]), &set(&[]), now), [], "wanted again, and not yet free");
    work.end_request(A, true, now);
    assert!(!work.is_giving(A));
    assert_eq!(taking(&mut work, &set(&[A]), now), [probe(&[A])]);
}

#[test]
fn claim_that_cant_be_given_up_is_tried_again_after_a_pause() {
    let (mut work, mut now) = (Work::default(), Instant::now());
    for pause in [1, 2, 4, 8, 16, 25, 25] {
        assert_eq!(work.begin(&set(&[]), &set(&[A]), now), [Job::Give(A)]);
        work.end_request(A, false, now);
        let end = now + pause * FAILED[0];
        assert!(!work.may_give(A, end - MS) && work.may_give(A, end), "{pause}");
        now = end;
    }
}

#[test]
fn number_of_jobs_is_bounded_and_all_addresses_get_theirs() {
    let (mut work, now, mut take, mut claimed) = (Work::default(), Instant::now(), many(255), 0);
    let (mut running, mut most) = (Vec::new(), 0);
    let give: BTreeSet<IpAddr> = (0..40).map(|last| IpAddr::from([203, 0, 113, last])).collect();
    let mut given = BTreeSet::new();
    loop {
        running.extend(work.begin(&take, &give.difference(&given).copied().collect(), now));
        most = most.max(running.len());
        let probes = running.iter().filter(|job| matches!(job, Job::Probe(_))).count();
        assert!(running.len() <= AT_ONCE && probes <= PROBES, "{running:?}");
        // The oldest job ends.
        let Some(job) = (!running.is_empty()).then(|| running.remove(0)) else { break };
        match job {
            Job::Probe(probed) => {
                assert!(probed.len() <= TOGETHER);
                end(&mut work, &probed, &Probed::Free, now);
            }
            Job::Claim(address) => {
                claimed += 1;
                assert!(take.remove(&address));
                work.end_request(address, true, now);
            }
            Job::Give(address) => {
                assert!(given.insert(address));
                work.end_request(address, true, now);
            }
        }
    }
    assert_eq!((most, given.len(), claimed, take.len()), (AT_ONCE, give.len(), 255, 0));
}
