//! Reads the number of UDP sessions from the node's Envoys. Entry point: [`fill`].

use std::time::Duration;

use futures::future::join_all;
use portreeve_api::own::node_report::NodeReportStatus;
use portreeve_keeper::envoy::statistics::Prefix;
use tokio::time::timeout;

use crate::envoy::stats;
use crate::supervisor::Supervisor;

/// How long a report waits for the proxies' statistics.
const PATIENCE: Duration = Duration::from_millis(500);

/// Queries all running proxies concurrently and writes their numbers into the report. A proxy that does not
/// answer in time gets none.
pub(super) async fn fill(report: &mut NodeReportStatus, supervisor: &Supervisor) {
    let Ok(udp) = "udp.".parse::<Prefix>() else { return };
    let answers = supervisor.statistics(&[udp]).into_iter();
    let answers = answers.map(|(name, answer)| async move { (name, timeout(PATIENCE, answer).await) });
    for (name, answer) in join_all(answers).await {
        let Ok(Some(text)) = answer else { continue };
        let proxy = report.proxies.iter_mut().find(|proxy| proxy.name == name);
        if let Some(proxy) = proxy {
            proxy.udp_sessions = Some(active(&text));
        }
    }
}

/// Returns the number of active sessions over all listeners.
fn active(printed: &str) -> i64 {
    let active = stats::samples(printed)
        .filter(|(name, _)| name.starts_with("envoy_udp") && name.ends_with("downstream_sess_active"));
    // These gauges are whole numbers.
    active.map(|(_, value)| value as i64).sum()
}

#[cfg(test)]
mod tests {
    use super::active;

    #[test]
    fn sessions_of_all_listeners_are_summed_and_nothing_else() {
        let printed = "# TYPE envoy_udp_downstream_sess_active gauge\n\
                       envoy_udp_downstream_sess_active{envoy_udp_prefix=\"A/ns/call/l\"} 3\n\
                       envoy_udp_downstream_sess_active{envoy_udp_prefix=\"A/ns/call/m\"} 40\n\
                       envoy_udp_downstream_sess_total{envoy_udp_prefix=\"A/ns/call/l\"} 100\n\
                       envoy_udp_A_v1_2_downstream_sess_active{} 1\n\
                       envoy_other_downstream_sess_active{} 7\nbroken\n";
        assert_eq!((active(printed), active("")), (44, 0));
    }
}
