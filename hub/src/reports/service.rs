//! The service `portreeve.report.v1.Reports`: one stream per agent, with a Beat for each Report ([`Desk::service`]).
//!
//! A report that breaks a rule ends its stream with an error and changes nothing. A stream without a report for
//! [`SILENCE`] is ended: agents report every half second, so the connection is half open or the agent hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream::BoxStream;
use http::HeaderMap;
use portreeve_api::report::{Beat, Report};
use portreeve_api::report_bounds;
use tonic::{Request, Response, Status, Streaming};

use super::stubs::reports_server::{Reports, ReportsServer};
use super::{Attached, Desk};
use crate::auth::Pass;

/// How long a stream may be silent while this hub isn't late.
const SILENCE: Duration = Duration::from_secs(2);

/// The service of a desk.
pub struct Service(Arc<Desk>);

/// An open stream.
struct Talk {
    desk: Arc<Desk>,
    inbound: Streaming<Report>,
    headers: HeaderMap,
    pass: Pass,
    /// `None` before the first report.
    attached: Option<Attached>,
}

// === impl Desk ===

impl Desk {
    /// Returns the service, to be added to the feed's routes.
    pub fn service(self: &Arc<Self>) -> ReportsServer<Service> {
        ReportsServer::new(Service(self.clone())).max_decoding_message_size(report_bounds::REPORT)
    }
}

// === impl Service ===

#[tonic::async_trait]
impl Reports for Service {
    type AttachStream = BoxStream<'static, Result<Beat, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.0.door().glance(&headers)?;
        let (desk, inbound) = (self.0.clone(), request.into_inner());
        let talk = Talk { desk, inbound, headers, pass: Pass { until: None }, attached: None };
        Ok(Response::new(Box::pin(talk.beats())))
    }
}

// === impl Talk ===

impl Talk {
    /// Returns a Beat for each report, and finally the error that ends the stream, if any.
    fn beats(self) -> impl Stream<Item = Result<Beat, Status>> {
        futures::stream::unfold(Some(self), |talk| async {
            let mut talk = talk?;
            match talk.next().await {
                Ok(Some(beat)) => Some((Ok(beat), Some(talk))),
                Ok(None) => None,
                Err(status) => {
                    let node = talk.attached.as_ref().map_or("?", |a| &*a.node);
                    tracing::info!(node, error = status.message(), "stream of reports ended");
                    Some((Err(status), None))
                }
            }
        })
    }

    /// Waits for one report and applies it. Returns `None` if the agent closed the stream.
    async fn next(&mut self) -> Result<Option<Beat>, Status> {
        let patience = SILENCE + self.desk.stretch();
        let heard = tokio::select! {
            heard = tokio::time::timeout(patience, self.inbound.message()) => heard,
            status = self.pass.ended() => return Err(status),
        };
        let heard = heard.map_err(|_| Status::deadline_exceeded(format!("no report for {patience:?}")))?;
        // Taken before any wait, so that this hub's own delay doesn't count as the agent's silence.
        let arrived = Instant::now();
        let Some(report) = heard? else { return Ok(None) };
        let (beat, first) = (report.beat, self.attached.is_none());
        report_bounds::check(&report, first).map_err(Status::invalid_argument)?;
        if let (None, Some(hello)) = (&self.attached, &report.hello) {
            self.pass = self.desk.door().admit(&self.headers, &hello.node).await?;
            let attached = self.desk.attach(hello).map_err(Status::resource_exhausted)?;
            tracing::info!(node = hello.node, version = hello.agent_version, "agent reports");
            self.attached = Some(attached);
        }
        let Some(attached) = &mut self.attached else { return Ok(None) };
        let epoch_seen =
            self.desk.take(attached, report, first, arrived).map_err(Status::resource_exhausted)?;
        Ok(Some(Beat { beat, epoch_seen }))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(attached) = &self.attached {
            self.desk.detach(attached);
        }
    }
}
