//! Converts between the messages of the keeper's protocol and this crate's types.

use std::num::NonZeroU16;

use crate::envoy::Family;
use crate::l7mp;
use crate::pair::Elder;
use crate::proto;
use crate::spec::{Order, Program, Spec};
use crate::state::{Exit, Phase, State, Usage};

/// The reason why a message is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A phase that this version doesn't know.
    #[error("unknown phase {0}")]
    Phase(i32),
    /// Not a valid TCP port.
    #[error("{0} is no port")]
    Port(u32),
    /// A kind of program that this keeper can't run.
    #[error("program {0} is of a kind that this keeper can't run")]
    Program(i32),
}

impl From<&State> for proto::Report {
    fn from(state: &State) -> Self {
        Self {
            protocol: state.protocol,
            name: state.name.clone(),
            keeper_pid: state.keeper_pid,
            envoy_pid: state.envoy_pid.unwrap_or_default(),
            epoch: state.epoch,
            phase: proto::Phase::from(state.phase).into(),
            started_ms: state.started_ms.unwrap_or_default(),
            restarts: state.restarts,
            last_exit: state.last_exit.clone().map(Into::into),
            backoff_until_ms: state.backoff_until_ms.unwrap_or_default(),
            spec_hash: state.spec_hash.clone(),
            base_id: state.base_id.unwrap_or_default(),
            netns: state.netns,
            memory_kills: state.memory_kills,
            memory_limit: state.memory_limit.unwrap_or_default(),
            serves: state.serves,
            concurrency: state.concurrency,
            out_of_memory: state.out_of_memory,
            usage: state.usage.map(|Usage { resident, cpu_ms }| proto::Usage { resident, cpu_ms }),
        }
    }
}

impl TryFrom<proto::Report> for State {
    type Error = WireError;

    fn try_from(report: proto::Report) -> Result<Self, WireError> {
        let phase = Phase::try_from(report.phase())?;
        Ok(Self {
            protocol: report.protocol,
            name: report.name,
            keeper_pid: report.keeper_pid,
            envoy_pid: some(report.envoy_pid),
            envoy_ticks: None,
            epoch: report.epoch,
            base_id: some(report.base_id),
            started_ms: some(report.started_ms),
            restarts: report.restarts,
            last_exit: report.last_exit.and_then(|exit| exit.how).map(Into::into),
            backoff_until_ms: some(report.backoff_until_ms),
            phase,
            spec_hash: report.spec_hash,
            netns: report.netns,
            memory_kills: report.memory_kills,
            memory_limit: some(report.memory_limit),
            serves: report.serves,
            concurrency: report.concurrency,
            out_of_memory: report.out_of_memory,
            usage: report.usage.map(|proto::Usage { resident, cpu_ms }| Usage { resident, cpu_ms }),
        })
    }
}

impl From<Phase> for proto::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Draining => Self::Draining,
            Phase::Backoff => Self::Backoff,
            Phase::Stopped => Self::Stopped,
        }
    }
}

impl TryFrom<proto::Phase> for Phase {
    type Error = WireError;

    fn try_from(phase: proto::Phase) -> Result<Self, WireError> {
        match phase {
            proto::Phase::Unspecified => Err(WireError::Phase(phase.into())),
            proto::Phase::Starting => Ok(Self::Starting),
            proto::Phase::Running => Ok(Self::Running),
            proto::Phase::Draining => Ok(Self::Draining),
            proto::Phase::Backoff => Ok(Self::Backoff),
            proto::Phase::Stopped => Ok(Self::Stopped),
        }
    }
}

impl From<Exit> for proto::Exit {
    fn from(exit: Exit) -> Self {
        let how = match exit {
            Exit::Code(code) => proto::exit::How::Code(code),
            Exit::Signal(signal) => proto::exit::How::Signal(signal),
            Exit::Error(reason) => proto::exit::How::Error(reason),
        };
        Self { how: Some(how) }
    }
}

impl From<proto::exit::How> for Exit {
    fn from(how: proto::exit::How) -> Self {
        match how {
            proto::exit::How::Code(code) => Self::Code(code),
            proto::exit::How::Signal(signal) => Self::Signal(signal),
            proto::exit::How::Error(reason) => Self::Error(reason),
        }
    }
}

impl From<&Order> for proto::Spec {
    fn from(Order { hash, spec }: &Order) -> Self {
        Self {
            hash: hash.clone(),
            name: spec.name.clone(),
            envoy: spec.envoy.to_string_lossy().into_owned(),
            node_id: spec.node_id.clone(),
            node_cluster: spec.node_cluster.clone(),
            ads_socket: spec.ads_socket.to_string_lossy().into_owned(),
            concurrency: spec.concurrency,
            extra_args: spec.extra_args.clone(),
            health_listener: spec.health_listener.unwrap_or_default().into(),
            drain_s: spec.drain_s,
            dual_stack: spec.wildcard == Family::Dual,
            memory_limit: spec.memory_limit.unwrap_or_default(),
            extra_bootstrap: spec.extra_bootstrap.clone().unwrap_or_default(),
            elder: None,
            program: proto::Program::from(&spec.program).into(),
            l7mp: match &spec.program {
                Program::Envoy => None,
                Program::L7mp(settings) => Some(settings.into()),
            },
        }
    }
}

impl TryFrom<proto::Spec> for Order {
    type Error = WireError;

    fn try_from(spec: proto::Spec) -> Result<Self, WireError> {
        let program = match proto::Program::try_from(spec.program) {
            Ok(proto::Program::Envoy) => Program::Envoy,
            Ok(proto::Program::L7mp) => Program::L7mp(spec.l7mp.unwrap_or_default().try_into()?),
            Err(_) => return Err(WireError::Program(spec.program)),
        };
        let port = u16::try_from(spec.health_listener).map_err(|_| WireError::Port(spec.health_listener))?;
        Ok(Self {
            hash: spec.hash,
            spec: Spec {
                name: spec.name,
                envoy: spec.envoy.into(),
                node_id: spec.node_id,
                node_cluster: spec.node_cluster,
                ads_socket: spec.ads_socket.into(),
                concurrency: spec.concurrency,
                extra_args: spec.extra_args,
                health_listener: some(port),
                drain_s: spec.drain_s,
                wildcard: if spec.dual_stack { Family::Dual } else { Family::V4 },
                memory_limit: some(spec.memory_limit),
                extra_bootstrap: some(spec.extra_bootstrap),
                program,
            },
        })
    }
}

impl From<&Program> for proto::Program {
    fn from(program: &Program) -> Self {
        match program {
            Program::Envoy => Self::Envoy,
            Program::L7mp(_) => Self::L7mp,
        }
    }
}

impl From<&l7mp::Settings> for proto::L7mp {
    fn from(l7mp::Settings { script, port, strict }: &l7mp::Settings) -> Self {
        Self { script: script.to_string_lossy().into_owned(), port: u32::from(port.get()), strict: *strict }
    }
}

impl TryFrom<proto::L7mp> for l7mp::Settings {
    type Error = WireError;

    fn try_from(proto::L7mp { script, port, strict }: proto::L7mp) -> Result<Self, WireError> {
        let number = u16::try_from(port).ok().and_then(NonZeroU16::new);
        Ok(Self { script: script.into(), port: number.ok_or(WireError::Port(port))?, strict })
    }
}

impl From<proto::Elder> for Elder {
    fn from(proto::Elder { base_id, epoch, concurrency }: proto::Elder) -> Self {
        Self { base_id, epoch, concurrency }
    }
}

fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}
