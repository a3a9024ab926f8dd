//! `doctor`: what keeps a node from working, and the remedy.
//!
//! It looks and changes nothing: no directory is made, no key, no lock is taken. It works beside a
//! running node and without one.

mod host;
mod network;
mod node;

use std::fmt::{self, Display};

use bytecave_config::Loaded;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output::{json_line, line};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Not in use.
    Off,
    /// Works, but should not stay so.
    Warning,
    /// Keeps the node from working.
    Problem,
}

/// One line of the diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Display) -> Self {
        Self {
            check,
            state: State::Ok,
            text: text.to_string(),
            remedy: None,
        }
    }

    fn off(check: &'static str, text: impl Display, remedy: impl Display) -> Self {
        Self {
            check,
            state: State::Off,
            text: text.to_string(),
            remedy: Some(remedy.to_string()),
        }
    }

    fn warning(check: &'static str, text: impl Display, remedy: impl Display) -> Self {
        Self {
            check,
            state: State::Warning,
            text: text.to_string(),
            remedy: Some(remedy.to_string()),
        }
    }

    fn problem(check: &'static str, text: impl Display, remedy: impl Display) -> Self {
        Self {
            check,
            state: State::Problem,
            text: text.to_string(),
            remedy: Some(remedy.to_string()),
        }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            State::Ok => "ok",
            State::Off => "off",
            State::Warning => "warning",
            State::Problem => "PROBLEM",
        };
        write!(f, "{mark:<7}  {:<10}  {}", self.check, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:21}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}

pub(crate) fn run(context: &Context) -> Result<Exit, CliError> {
    let mut findings = Vec::new();
    let loaded = match context.load() {
        Ok(loaded) => {
            findings.extend(settings(&loaded));
            Some(loaded)
        }
        Err(CliError::Settings(problems)) => {
            findings.extend(problems.iter().map(|problem| {
                Finding::problem(
                    "settings",
                    problem,
                    "correct it; `bytecave config check` looks again",
                )
            }));
            None
        }
        Err(error) => return Err(error),
    };
    findings.push(host::file_descriptors());
    findings.push(host::clock(loaded.as_ref().map(|loaded| &loaded.config)));
    if let Some(Loaded { config, .. }) = &loaded {
        findings.extend(host::data_directory(config));
        findings.extend(host::disk(config));
        findings.extend(node::keys(config));
        let (port, finding) = node::http_port(context, config)?;
        findings.push(finding);
        findings.extend(network::network(context, config, port)?);
        findings.push(node::chain(config));
    }
    let sick = findings
        .iter()
        .any(|finding| finding.state == State::Problem);
    if context.out.json {
        json_line(&json!({ "ok": !sick, "checks": findings }))?;
    } else {
        for finding in &findings {
            line(finding)?;
        }
    }
    Ok(if sick { Exit::Failed } else { Exit::Done })
}

fn settings(loaded: &Loaded) -> Vec<Finding> {
    let http = &loaded.config.http;
    let mut findings: Vec<Finding> = loaded
        .warnings
        .iter()
        .map(|warning| {
            Finding::warning(
                "settings",
                warning,
                "correct it; `bytecave config check` looks again",
            )
        })
        .collect();
    if !http.counts_as_loopback() && !http.store_needs_token() {
        findings.push(Finding::warning(
            "settings",
            format_args!(
                "everyone who reaches {} may store (http.store_access = \"open\")",
                http.host.ip()
            ),
            "set http.store_access to \"auto\" or \"token\"",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "settings",
            "usable; `bytecave config show` lists them",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_but_a_good_one_has_its_remedy_on_the_next_line() {
        let text = Finding::problem("disk", "full", "make room").to_string();
        assert_eq!(
            text,
            "PROBLEM  disk        full\n                     -> make room"
        );
        assert_eq!(
            Finding::ok("disk", "free").to_string(),
            "ok       disk        free"
        );
    }
}
