#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

/// Every command, subcommands as `config show`.
fn commands() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for command in Cli::command().get_subcommands() {
        let inner: Vec<_> = command.get_subcommands().collect();
        if inner.is_empty() {
            names.insert(command.get_name().to_owned());
        }
        names.extend(
            inner
                .iter()
                .map(|inner| format!("{} {}", command.get_name(), inner.get_name())),
        );
    }
    names
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn no_command_means_run() {
    assert!(parse("bytecave").unwrap().command.is_none());
    let cli = parse("bytecave run --port 8080 --host ::1").unwrap();
    let Some(Command::Run(args)) = cli.command else {
        panic!("run is the command")
    };
    let flags: Vec<_> = args
        .flags()
        .into_iter()
        .map(|flag| (flag.key, flag.value))
        .collect();
    let expected = [("http.host", "::1"), ("http.port", "8080")];
    assert_eq!(
        flags,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    for line in [
        "bytecave --json --url http://a -vv status",
        "bytecave status --json --url http://a -v -v",
    ] {
        let globals = parse(line).unwrap().globals;
        assert!(globals.json);
        assert_eq!(globals.url.as_deref(), Some("http://a"));
        assert_eq!(globals.verbose, 2);
    }
}

#[test]
fn wrong_usage_is_refused_with_code_2() {
    let hex = "0".repeat(64);
    for line in [
        "bytecave store",
        "bytecave get",
        "bytecave get QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o",
        "bytecave get nonsense -o x",
        &format!("bytecave get {hex} --force"),
        "bytecave rm",
        "bytecave pin --remove",
        "bytecave block",
        "bytecave block nonsense",
        "bytecave block --list --file x",
        &format!("bytecave block --list {hex}"),
        "bytecave unblock",
        "bytecave replication someone",
        "bytecave proof",
        "bytecave proof make",
        &format!("bytecave proof make {hex} --count 0"),
        &format!("bytecave proof make {hex} --count 33"),
        &format!("bytecave proof make {hex} --nonce 05"),
        &format!("bytecave proof make {hex} --force"),
        &format!("bytecave proof verify p --nonce {hex}"),
        &format!("bytecave proof verify p --commitment {hex}"),
        &format!("bytecave proof verify p --nonce {hex} --root {hex}"),
        &format!("bytecave proof verify p --nonce {hex} --size 1"),
        &format!("bytecave proof verify p --nonce {hex} --commitment {hex} --file f"),
        &format!("bytecave proof verify p --nonce {hex} --file f --cid {hex}"),
        &format!("bytecave proof verify p --nonce {hex} --file f --max-age 5"),
        "bytecave proof verify-receipt",
        "bytecave audits --outcome bad",
        "bytecave audits --limit 0",
        "bytecave audits --limit 1001",
        "bytecave audits --peer someone",
        "bytecave scrub now",
        "bytecave store x --replicas 0",
        "bytecave store x --replicas 17",
        "bytecave ls --shard x",
        "bytecave ls --limit -1",
        "bytecave cid",
        "bytecave log-level",
        "bytecave completions tcsh",
        "bytecave config",
        "bytecave keys export",
        "bytecave peers someone",
        "bytecave peers --shard -1",
        "bytecave store x --name a --no-name",
        "bytecave verify --repair --salvage",
        "bytecave shards drop --yes",
        "bytecave shards drop --yes 8-",
        "bytecave shards drop --yes -- -1",
    ] {
        let error = parse(line).map(|_| line).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
}

#[test]
fn the_reason_a_cid_is_refused_reaches_the_user() {
    let error = parse("bytecave get QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o").unwrap_err();
    assert!(error.to_string().contains("codec 0x70"), "{error}");
}

#[test]
fn a_cid_may_be_given_as_hex_digits() {
    let hex = "A".repeat(64);
    assert!(parse(&format!("bytecave get {hex}")).is_ok());
    assert!(parse(&format!("bytecave pin --remove {hex} {hex}")).is_ok());
}

#[test]
fn the_help_tells_the_exit_codes() {
    let help = Cli::command().render_long_help().to_string();
    for exit in Exit::ALL {
        assert!(
            help.contains(&format!("{:>3}  ", exit.code())),
            "{exit:?} in:\n{help}"
        );
    }
}

#[test]
fn the_page_on_the_command_line_names_every_command_and_exit_code() {
    let page = include_str!("../../docs/cli.md");
    for command in commands() {
        assert!(
            page.contains(&format!("`bytecave {command}")),
            "{command} is missing in docs/cli.md"
        );
    }
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(
            page.contains(&row),
            "this row is missing in docs/cli.md:\n{row}"
        );
    }
    let options = Cli::command();
    for option in options.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(
            page.contains(&format!("`--{option}")),
            "--{option} is missing in docs/cli.md"
        );
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in [
        Shell::Bash,
        Shell::Elvish,
        Shell::Fish,
        Shell::PowerShell,
        Shell::Zsh,
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "bytecave", &mut script);
        assert!(
            String::from_utf8(script).unwrap().contains("log-level"),
            "{shell}"
        );
    }
}

#[test]
fn verbosity_and_json_become_log_settings_of_a_node() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("settings.toml");
    std::fs::write(&file, "[node]\ndata_dir = \"/elsewhere\"\n").unwrap();
    let line = format!(
        "bytecave -vv --json --config {} --data-dir /here run",
        file.display()
    );
    let context = Context::new(parse(&line).unwrap().globals);
    let config = context.load_to_run(Vec::new()).unwrap().config;
    assert_eq!(config.log.level.to_string(), "trace");
    assert_eq!(config.log.format.to_string(), "json");
    assert_eq!(config.node.data_dir, std::path::Path::new("/here"));
    assert_ne!(
        context.load().unwrap().config.log.level.to_string(),
        "trace"
    );
}
