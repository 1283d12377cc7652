//! The table of proxies, listeners and endpoints that `portreeve up` prints: first as data, then as text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portreeve_agent::local::Local;
use portreeve_agent::supervisor::{Status, Supervisor};
use portreeve_agent_core::fleet::{Answers, Findings, Proxy};
use portreeve_agent_core::status::trouble;
use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_agent_core::world::{ProxyId, World};
use portreeve_api::model::{Balancer, Listener, Plan, Protocol, Scope};
use portreeve_envoy::Envoy;
use portreeve_runtime::now_ms;
use portreeve_runtime::out::plain;

use crate::endpoints::Shown;
use crate::layout::{self, Column};

/// The table's columns. The state column is as wide as the longest state, so that the others don't move when a state
/// changes.
const COLUMNS: [Column; 5] = [
    Column { least: 10, breaks: true },
    Column { least: 14, breaks: true },
    Column { least: 4, breaks: false },
    Column { least: 10, breaks: false },
    Column { least: 21, breaks: true },
];

/// The content of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Every listener of every proxy.
    pub rows: Vec<Row>,
    /// Why proxies of this host don't run, by the proxy's name for people.
    pub troubles: BTreeMap<String, String>,
}

/// One listener on one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The proxy's name for people.
    pub proxy: String,
    /// Whether the proxy is in this process's network namespace.
    pub on_host: bool,
    /// `<api>/<namespace>/<object>/<listener>`.
    pub listener: String,
    /// True for UDP, false for TCP.
    pub udp: bool,
    /// The listener's own address. `None`: it listens on all addresses, or on those of the loopback interface.
    pub address: Option<IpAddr>,
    /// Port of the listener.
    pub port: u32,
    /// Whether all sessions share one endpoint (the cluster has a hash key).
    pub keyed: bool,
    /// Whether `--check` can send datagrams through it, see [`Shown::CHECKED`].
    pub checked: bool,
    /// State of the listener.
    pub state: State,
    /// Endpoints that new sessions may use, the preferred one first.
    pub endpoints: Vec<String>,
}

/// The state of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The proxy accepted it.
    Active,
    /// The proxy has not answered yet.
    Pending,
    /// The proxy rejected it, with this error.
    Refused(String),
    /// It isn't served, for this reason.
    Denied(String),
    /// The proxy has it, but a process outside Portreeve uses the same port.
    Shared(String),
}

/// Returns the current table.
pub fn now(local: &Local, supervisor: &Supervisor) -> Table {
    let status = supervisor.status();
    let told = |name: &str, text: String| match supervisor.last_words(name) {
        Some(words) if !words.is_empty() => format!("{text}; its log says: {words}"),
        _ => format!("{text}; its log is empty"),
    };
    let troubles = local.read(|world| {
        let present = (world, now_ms().unsigned_abs());
        let trouble =
            |(name, status): (&String, &Status)| Some((name.clone(), trouble((name, status), present)?));
        status.iter().filter_map(trouble).collect::<Vec<_>>()
    });
    let troubles = troubles.into_iter().map(|(name, text)| (title(&name), told(&name, text)));
    Table { troubles: troubles.collect(), rows: rows(local) }
}

fn title(node_proxy: &str) -> String {
    ProxyId::Node(node_proxy.into()).to_string()
}

/// Returns all listeners of all proxies.
fn rows(local: &Local) -> Vec<Row> {
    local.read(|world| [rows_of::<Envoy>(world), rows_of::<L7mp>(world)].concat())
}

/// Returns all listeners of all proxies of one kind.
fn rows_of<T: Shown>(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some(fleet) = world.fleet::<T>() else { return rows };
    for (id, proxy) in fleet.proxies() {
        let answers = fleet.answers().get(id);
        for (name, plan) in proxy.plans.keys().filter_map(|name| Some((name, world.plan(name)?))) {
            rows.extend(plan.listeners.iter().map(|l| row((id, proxy), answers, (name, plan), l)));
        }
    }
    rows
}

/// Returns why a listener isn't served, or shares its port with another process.
fn fault(part: &Findings, listener: &str) -> Option<State> {
    if let Some(lost) = part.denied.get(listener) {
        return Some(State::Denied(lost.to_string()));
    }
    if let Some(taken) = part.taken.get(listener).filter(|taken| !taken.by.unsure) {
        let state = if taken.by.beside { State::Shared } else { State::Denied };
        return Some(state(taken.to_string()));
    }
    let remark = part.remarks.iter().find(|remark| remark.at == listener)?;
    Some(State::Denied(remark.text.clone()))
}

fn state<T: Shown>(proxy: &Proxy<T>, answers: Option<&Answers<T>>, listener: &str) -> State {
    let key = (T::LISTENER, listener.into());
    let wanted = proxy.view.snapshot(|s| s.get(T::LISTENER, listener).map(|r| r.version()));
    let Some(answers) = answers else { return State::Pending };
    if let Some(refusal) = answers.refused.get(&key) {
        return State::Refused(refusal.text.clone());
    }
    match wanted {
        Some(version) if answers.accepted.get(&key) == Some(&version) => State::Active,
        _ => State::Pending,
    }
}

fn row<T: Shown>(
    (id, proxy): (&ProxyId, &Proxy<T>),
    answers: Option<&Answers<T>>,
    (name, plan): (&str, &Plan),
    listener: &Listener,
) -> Row {
    let fault = proxy.plans.get(name).and_then(|part| fault(&part.findings, &listener.name));
    let full = format!("{name}/{}", listener.name);
    let state = fault.unwrap_or_else(|| state(proxy, answers, &full));
    // A JSONSocket has the port of its transport.
    let socket = listener.socket.as_ref().map(|socket| socket.transport.as_deref().unwrap_or(socket));
    let cluster = listener
        .rules
        .first()
        .and_then(|r| r.route.as_ref())
        .map(|r| r.destination.clone())
        .unwrap_or_default();
    let balancer = plan.cluster(&cluster).and_then(|cluster| cluster.balancer.as_ref());
    let keyed = matches!(balancer, Some(Balancer::Key(_)));
    let endpoints = T::endpoints(proxy, &full, &format!("{name}/{cluster}"));
    Row {
        proxy: proxy.facts.title.clone(),
        on_host: matches!(id, ProxyId::Node(_)) || &*proxy.facts.netns == "host",
        listener: full,
        udp: socket.is_some_and(|socket| socket.protocol == Protocol::Udp),
        address: socket.filter(|socket| has_address(socket.scope)).and_then(|socket| socket.bind?.ip),
        port: socket.and_then(|socket| socket.port).map_or(0, |port| port.get().into()),
        keyed,
        checked: T::CHECKED,
        state,
        endpoints,
    }
}

fn has_address(scope: Scope) -> bool {
    matches!(scope, Scope::Address | Scope::Floating)
}

/// Formats the table within `width` columns, followed by the reasons why proxies and listeners don't serve.
pub fn render(table: &Table, width: usize) -> String {
    let mut lines = vec![["PROXY", "LISTENER", "PORT", "STATE", "ENDPOINTS"].map(str::to_string)];
    lines.extend(table.rows.iter().map(cells));
    let mut text = layout::table(&lines, COLUMNS, width);
    for reason in reasons(table) {
        text.push_str(&layout::paragraph(&plain(&reason), width));
    }
    text
}

fn cells(row: &Row) -> [String; 5] {
    let protocol = if row.udp { "udp" } else { "tcp" };
    let key = if row.keyed && !row.endpoints.is_empty() { " (the first)" } else { "" };
    let endpoints = if row.endpoints.is_empty() { "none".into() } else { row.endpoints.join(" ") };
    let port = format!("{protocol} {}", row.port);
    let cells = [row.proxy.clone(), row.listener.clone(), port, row.state.word().into(), endpoints + key];
    cells.map(|cell| plain(&cell).into_owned())
}

fn reasons(table: &Table) -> impl Iterator<Item = String> {
    let troubles = table.troubles.iter().map(|(proxy, text)| format!("{proxy}: {text}"));
    let rows = table.rows.iter().filter(|row| row.state.reason().is_some());
    troubles.chain(rows.map(|row| format!("{} on {}: {}", row.listener, row.proxy, row.state)))
}

// === impl State ===

impl State {
    /// Returns the state as one word.
    fn word(&self) -> &'static str {
        match self {
            State::Active => "active",
            State::Pending => "pending",
            State::Refused(_) => "refused",
            State::Denied(_) => "not served",
            State::Shared(_) => "shared",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            State::Active | State::Pending => None,
            State::Refused(text) | State::Denied(text) | State::Shared(text) => Some(text),
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason() {
            Some(text) => write!(f, "{}: {text}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_row(listener: &str, state: State) -> Row {
        Row {
            proxy: "nodeproxy/gateway".into(),
            on_host: true,
            address: None,
            listener: listener.into(),
            udp: true,
            port: 17_000,
            keyed: false,
            checked: true,
            state,
            endpoints: (1..=3).map(|n| format!("127.0.11.{n}:19000")).collect(),
        }
    }

    fn mk_table(rows: Vec<Row>) -> Table {
        Table { rows, ..Table::default() }
    }

    #[test]
    fn table_fits_80_columns_and_breaks_no_address() {
        let rows = ["keyed", "spread"].map(|name| mk_row(&format!("A/default/call/{name}"), State::Active));
        let text = render(&mk_table(rows.into()), 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.matches("127.0.11.2:19000").count(), 2, "{text}");
        assert_eq!(text.matches("active").count(), 2, "{text}");
    }

    #[test]
    fn reason_of_any_length_moves_no_column_and_is_told_below() {
        let text = "Error adding/updating listener(s): ".repeat(9);
        for state in [
            State::Pending,
            State::Refused(text.clone()),
            State::Denied(text.clone()),
            State::Shared(text.clone()),
        ] {
            let active = render(&mk_table(vec![mk_row("A/default/call/x", State::Active)]), 100);
            let other = render(&mk_table(vec![mk_row("A/default/call/x", state.clone())]), 100);
            let column = |table: &str| table.lines().next().map(str::to_owned);
            assert_eq!(column(&active), column(&other));
            let below = other.split_once("A/default/call/x on nodeproxy/gateway: ");
            let told = below.map(|(_, reason)| reason.split_whitespace().collect::<Vec<_>>().join(" "));
            let wanted = state.reason().map(|_| state.to_string().trim_end().to_owned());
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn why_a_proxy_does_not_run_is_told_also_without_a_listener() {
        let troubles =
            BTreeMap::from([("nodeproxy/gateway".to_owned(), "Envoy ended: exit code 1".to_owned())]);
        let text = render(&Table { troubles, ..Table::default() }, 80);
        assert_eq!(text.lines().nth(1), Some("nodeproxy/gateway: Envoy ended: exit code 1"));
    }

    #[test]
    fn text_of_users_reaches_the_terminal_without_control_characters() {
        let mut row = mk_row("A/default/\u{1b}[2J/x\n", State::Refused("\u{9b}31m\rall is well".into()));
        row.endpoints = vec!["\u{202e}host".into()];
        let troubles = BTreeMap::from([("nodeproxy/\u{7}".to_owned(), "\u{1b}]0;title".to_owned())]);
        let text = render(&Table { rows: vec![row], troubles }, 80);
        assert!(text.chars().all(|c| c == '\n' || plain(&c.to_string()) == c.to_string()), "{text:?}");
    }
}
