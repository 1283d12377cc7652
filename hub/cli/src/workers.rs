//! Runs pods of a folder as local processes: their containers' commands, which end with this process.
//!
//! A static Pod is only a description by default. Only pods annotated `portreeve.dev/run: local` are run.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::process::{Child, Command};

/// The annotation and its value.
pub const ANNOTATION: (&str, &str) = ("portreeve.dev/run", "local");

/// A container's name with that of its pod.
type Title = String;

/// The running containers.
#[derive(Default)]
pub struct Workers {
    running: BTreeMap<Title, (Vec<String>, Child)>,
}

// === impl Workers ===

impl Workers {
    /// Starts the containers of these pods, restarts those that changed and ends all others. Returns complaints.
    pub fn follow(&mut self, pods: &[Pod]) -> Vec<String> {
        let mut wanted = BTreeMap::new();
        for pod in
            pods.iter().filter(|p| p.annotations().get(ANNOTATION.0).is_some_and(|v| v == ANNOTATION.1))
        {
            for container in pod.spec.iter().flat_map(|s| &s.containers) {
                let words = container.command.iter().chain(&container.args).flatten().cloned();
                wanted.insert(format!("{}/{}", pod.name_any(), container.name), words.collect::<Vec<_>>());
            }
        }
        self.running.retain(|title, (words, _)| wanted.get(title) == Some(words));
        let mut complaints = Vec::new();
        wanted.retain(|title, _| !self.running.contains_key(title));
        for (title, words) in wanted {
            match start(&words) {
                Ok(child) => drop(self.running.insert(title, (words, child))),
                Err(error) => complaints.push(format!("Pod {title}: {error:#}")),
            }
        }
        complaints
    }

    /// Returns the containers that ended by themselves since the last call, and how they ended.
    pub fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        self.running.retain(|title, (_, child)| match child.try_wait() {
            Ok(Some(status)) => {
                ended.push(format!("Pod {title} ended: {status}"));
                false
            }
            _ => true,
        });
        ended
    }
}

fn start(words: &[String]) -> anyhow::Result<Child> {
    let (program, arguments) = words.split_first().context("the container has no command")?;
    let program = match program.as_str() {
        "portreeve" => std::env::current_exe()?,
        other => other.into(),
    };
    // The launcher role makes the kernel end the child with this process, however this process ends.
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["launch", "--parent", &std::process::id().to_string()]);
    command.arg(&program).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| program.display().to_string())
}
