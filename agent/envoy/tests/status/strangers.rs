//! Statuses of listeners whose ports other processes hold.

use portreeve_agent_core::claims::Transport;
use portreeve_agent_core::claims::strangers::{Stranger, Strangers};
use portreeve_agent_core::translate::bind::Bind;

use super::*;

const TOLD: &str = "udp port 2000 is in use by process 7 (nc)";

fn stranger(beside: bool, unsure: bool) -> Strangers {
    let at = vec![Bind::wildcard(Families::V4)];
    [((Transport::Udp, 2000), Stranger { who: "process 7 (nc)".into(), at, beside, unsure })].into()
}

#[test]
fn process_that_holds_a_listeners_port_is_told_in_the_status_and_in_the_report() {
    // Whether a proxy has the port open too. The listener is served only if it does; the process is reported
    // in both cases.
    for beside in [true, false] {
        let mut rig = Rig::new();
        rig.put_plan(&mk_plan("a", 2000, &["10.0.0.9"]));
        rig.world.set_strangers(stranger(beside, false));
        rig.accept_all(&gateway("gw"));
        let status = rig.status("a");
        assert_eq!((status.wanted, status.acked, status.nacked), (1, 0, 1), "{status:?}");
        assert!(format!("{status:?}").contains(TOLD), "{status:?}");
        let nack = rig.report(&kept(keeper::Phase::Running)).proxies[0].nack.clone().unwrap_or_default();
        assert!(nack.starts_with(&format!("listener A/ns/a/l: {TOLD}")), "{nack}");
        rig.world.set_strangers(Strangers::new());
        rig.accept_all(&gateway("gw"));
        assert_eq!(rig.counts("a"), [1, 1, 0, 0, 0]);
        assert_eq!(rig.report(&kept(keeper::Phase::Running)).proxies[0].nack, None);
    }
}

#[test]
fn listener_that_waits_for_a_look_at_its_port_is_pending_and_blames_nobody() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 2000, &["10.0.0.9"]));
    rig.world.set_strangers(stranger(false, true));
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("a"), [1, 0, 0, 0, 0]);
    assert_eq!(rig.report(&kept(keeper::Phase::Running)).proxies[0].nack, None);
}
