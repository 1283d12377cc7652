//! Determines a process's pod from its cgroups: [`membership`] parses `/proc/<pid>/cgroup`.
//!
//! A kubelet creates one cgroup per pod below its root: `kubepods[.slice]`, a QoS class, `pod<uid>`, then the runtime's
//! containers. A process in a container can create cgroups *below* its own with any name, so a name counts only at its
//! place: the outermost `kubepods`, the pod directly below it (or below the class), and nothing above that is delegated
//! to others (a container, a service or scope of systemd). If the agent has its own cgroup namespace, the kernel writes
//! paths relative to the agent's container; then pods are at least two levels up.

/// The pod that a process belongs to, according to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// In the pod with this uid.
    Pod(String),
    /// In no identifiable pod: outside all pods, or in the agent's own pod.
    Outside,
    /// Two hierarchies name two different pods, so the process counts for neither.
    Torn(String, String),
}

/// Returns the pod that a process belongs to from the text of its `/proc/<pid>/cgroup`.
///
/// A hierarchy without a pod is ignored (on hybrid machines, the unified one is often unused). If two hierarchies name
/// different pods, the process belongs to neither.
pub fn membership(text: &str) -> Membership {
    // `hierarchy:controllers:path`. A path may contain colons, but no newline (the kernel rejects it in names).
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found: Option<String> = None;
    for uid in paths.filter_map(pod_of) {
        match &found {
            Some(other) if *other != uid => return Membership::Torn(other.clone(), uid),
            _ => found = Some(uid),
        }
    }
    found.map_or(Membership::Outside, Membership::Pod)
}

/// Returns the uid of the pod that a path lies in.
fn pod_of(path: &str) -> Option<String> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let climbed = names.iter().take_while(|name| **name == "..").count();
    let names = &names[climbed..];
    match climbed {
        0 => below_root(names),
        // One level up is the agent's own pod, and below it are its containers.
        1 => None,
        _ => pod_at(names).or_else(|| below_root(names)),
    }
}

/// Returns the pod below the outermost `kubepods`, unless that is itself in a delegated cgroup.
fn below_root(names: &[&str]) -> Option<String> {
    let root = names.iter().position(|name| is_root(name))?;
    let (above, below) = (&names[..root], &names[root + 1..]);
    if above.iter().any(|name| is_realm(name)) {
        return None;
    }
    pod_at(below)
}

/// Returns the pod at the beginning of the names, with or without a QoS class before it.
fn pod_at(names: &[&str]) -> Option<String> {
    let (first, rest) = names.split_first()?;
    let name = if is_class(first) { rest.first()? } else { first };
    pod_uid(name)
}

/// Returns whether a name is `kubepods`, `kubepods.slice`, or below another slice `kubelet-kubepods.slice`.
fn is_root(name: &str) -> bool {
    name == "kubepods" || name.strip_suffix(".slice").is_some_and(ends_in_kubepods)
}

fn is_class(name: &str) -> bool {
    matches!(name, "besteffort" | "burstable") || name.strip_suffix(".slice").is_some_and(names_class)
}

/// Returns whether the cgroup is delegated: a container, or a unit whose processes manage it.
fn is_realm(name: &str) -> bool {
    let id = name.rsplit('-').next().unwrap_or(name);
    let container = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    container || name.ends_with(".scope") || name.ends_with(".service") || name == ".."
}

/// Returns the uid in `pod<uid>` or `kubepods-burstable-pod<uid>.slice` (systemd writes its dashes as underscores).
fn pod_uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        None => name.strip_prefix("pod")?.to_string(),
        Some(slice) => {
            let (parents, uid) = slice.rsplit_once("-pod")?;
            let placed = ends_in_kubepods(parents) || names_class(parents);
            placed.then(|| uid.replace('_', "-"))?
        }
    };
    is_uid(&uid).then_some(uid)
}

fn ends_in_kubepods(slice: &str) -> bool {
    slice == "kubepods" || slice.ends_with("-kubepods")
}

fn names_class(slice: &str) -> bool {
    let parent = slice.strip_suffix("-besteffort").or_else(|| slice.strip_suffix("-burstable"));
    parent.is_some_and(ends_in_kubepods)
}

/// Returns whether a text is a UUID as the API server writes it, or the 32 digits of a static pod's uid.
fn is_uid(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    matches!(lengths[..], [8, 4, 4, 4, 12] | [32]) && text.split('-').all(digits)
}

#[cfg(test)]
mod tests {
    use super::{Membership, membership};

    const A: &str = "0a1b2c3d-1111-2222-3333-444455556666";
    const B: &str = "ffffffff-1111-2222-3333-444455556666";
    const STATIC: &str = "0123456789abcdef0123456789abcdef";
    const CID: &str = "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd";

    /// Replaces names: {A} and {B} are uids, {a} is A as systemd writes it, {S} a static pod's uid, {C} a container.
    fn fill(text: &str) -> String {
        let systemd = A.replace('-', "_");
        [("{A}", A), ("{B}", B), ("{a}", &systemd), ("{S}", STATIC), ("{C}", CID)]
            .iter()
            .fold(text.to_string(), |text, (mark, name)| text.replace(mark, name))
    }

    fn pod(text: &str) -> Option<String> {
        match membership(&fill(text)) {
            Membership::Pod(uid) => Some(uid),
            _ => None,
        }
    }

    #[test]
    fn pods_are_found_in_every_form_that_kubelets_and_runtimes_write() {
        for (text, uid) in [
            // The cgroupfs driver, version 2 and version 1.
            ("0::/kubepods/besteffort/pod{A}/{C}\n", A),
            ("0::/kubepods/burstable/pod{A}/{C}\n", A),
            ("0::/kubepods/pod{A}/{C}\n", A),
            ("0::/kubepods/pod{A}\n", A),
            ("0::/kubepods/burstable/pod{S}/{C}\n", STATIC),
            ("12:pids:/kubepods/besteffort/pod{A}/{C}\n4:memory:/kubepods/besteffort/pod{A}/{C}\n", A),
            ("3:cpu,cpuacct:/kubepods/pod{A}/crio-{C}\n1:name=systemd:/kubepods/pod{A}/crio-{C}\n", A),
            // Hybrid: the unified hierarchy is unused, or contains the runtime's shim.
            ("9:name=systemd:/kubepods/besteffort/pod{A}/{C}\n4:memory:/\n0::/\n", A),
            ("4:memory:/kubepods/besteffort/pod{A}/{C}\n0::/system.slice/containerd.service\n", A),
            // The systemd driver.
            (
                "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{a}.slice/cri-containerd-{C}.scope\n",
                A,
            ),
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{a}.slice/crio-{C}.scope\n",
                A,
            ),
            ("0::/kubepods.slice/kubepods-pod{a}.slice/docker-{C}.scope\n", A),
            ("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{S}.slice/x.scope\n", STATIC),
            // Below another root of the kubelet.
            ("0::/kubelet/kubepods/besteffort/pod{A}/{C}\n", A),
            (
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
                 kubelet-kubepods-burstable-pod{a}.slice/cri-containerd-{C}.scope\n",
                A,
            ),
            // A cgroup that the container created below its own.
            ("0::/kubepods/besteffort/pod{A}/{C}/init\n", A),
            // Relative to the agent's own cgroup namespace: same class, another, none, and the whole way up.
            ("0::/../../pod{A}/{C}\n", A),
            ("0::/../../../besteffort/pod{A}/{C}\n", A),
            ("0::/../../burstable/pod{A}/{C}\n", A),
            ("0::/../../../pod{A}/{C}\n", A),
            ("0::/../../kubepods-besteffort-pod{a}.slice/cri-containerd-{C}.scope\n", A),
            (
                "0::/../../../kubepods-burstable.slice/kubepods-burstable-pod{a}.slice/cri-containerd-{C}.scope\n",
                A,
            ),
            ("0::/../../../../kubepods/burstable/pod{A}/{C}\n", A),
            ("4:memory:/\n0::/../../pod{A}/{C}\n", A),
        ] {
            assert_eq!(pod(text).as_deref(), Some(uid), "{}", fill(text));
        }
    }

    #[test]
    fn a_name_below_a_container_does_not_make_a_pod() {
        for (text, uid) in [
            ("0::/kubepods/besteffort/pod{A}/{C}/pod{B}/{C}\n", Some(A)),
            ("0::/kubepods/besteffort/pod{A}/{C}/kubepods/besteffort/pod{B}/{C}\n", Some(A)),
            ("0::/kubepods/pod{A}/{C}/../../pod{B}/{C}\n", Some(A)),
            ("0::/../../pod{A}/{C}/kubepods/pod{B}/{C}\n", Some(A)),
            // The containers of the agent's own pod.
            ("0::/../{C}\n", None),
            ("0::/../{C}/pod{B}/{C}\n", None),
            ("0::/../{C}/kubepods/pod{B}/{C}\n", None),
            ("0::/../pod{B}/{C}\n", None),
            ("0::/../cri-containerd-{C}.scope/kubepods.slice/kubepods-pod{a}.slice/x.scope\n", None),
            ("0::/../../{C}/kubepods/pod{B}/{C}\n", None),
            ("0::/../crio-{C}/kubepods/pod{B}/{C}\n", None),
            // Cgroups that systemd delegates to users and services, and containers outside Kubernetes.
            ("0::/user.slice/user-1000.slice/user@1000.service/kubepods/besteffort/pod{B}/{C}\n", None),
            ("0::/user.slice/user-1000.slice/session-2.scope/kubepods/pod{B}/{C}\n", None),
            ("0::/docker/{C}/kubepods/besteffort/pod{B}/{C}\n", None),
            ("0::/system.slice/docker-{C}.scope/kubepods/pod{B}/{C}\n", None),
            ("0::/../../../../user.slice/user@1000.service/kubepods/pod{B}/{C}\n", None),
        ] {
            assert_eq!(pod(text).as_deref(), uid, "{}", fill(text));
        }
    }

    #[test]
    fn what_only_looks_like_a_pod_is_none() {
        for text in [
            "",
            "\n",
            "nonsense",
            "0::/",
            "0::/system.slice/ssh.service\n",
            "0::/pod{A}/{C}\n",
            "0::/besteffort/pod{A}/{C}\n",
            "0::/kubepods\n",
            "0::/kubepods/besteffort\n",
            "0::/kubepods/other/pod{A}/{C}\n",
            "0::/kubepods/besteffort/burstable/pod{A}/{C}\n",
            "0::/kubepods/besteffort/podx{A}/{C}\n",
            "0::/kubepods/besteffort/pod{A}0/{C}\n",
            "0::/kubepods/besteffort/pod0A1B2C3D-1111-2222-3333-444455556666/{C}\n",
            "0::/kubepods/besteffort/pod/{C}\n",
            "0::/kubepods/besteffort/pod{a}/{C}\n",
            "0::/kubepods.slice/kubepods-besteffort.slice/evil-pod{a}.slice/x.scope\n",
            "0::/mykubepods/pod{A}/{C}\n",
            "0::/mykubepods.slice/kubepods-pod{a}.slice/x.scope\n",
            "0::/kubepods:/pod{A}/{C}\n",
            "kubepods/besteffort/pod{A}/{C}\n",
        ] {
            assert_eq!(membership(&fill(text)), Membership::Outside, "{}", fill(text));
        }
    }

    #[test]
    fn hierarchies_that_disagree_make_nobody() {
        let text = fill("4:memory:/kubepods/besteffort/pod{A}/{C}\n1:name=systemd:/kubepods/pod{B}/{C}\n");
        assert_eq!(membership(&text), Membership::Torn(A.into(), B.into()));
        let agreed = fill("4:memory:/kubepods/pod{A}/{C}\n0::/../../pod{A}/{C}\n");
        assert_eq!(membership(&agreed), Membership::Pod(A.into()));
    }
}
