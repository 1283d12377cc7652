//! The multi-call binary is found and starts the requested program.

use std::time::Duration;

use anyhow::Result;
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::under_test;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(10);
/// The roles that the binary has.
const ROLES: &[&str] = &["hub", "agent", "portreeve", "keep", "launch"];

#[test]
fn the_binary_is_the_one_that_cargo_built() -> Result<()> {
    assert_eq!(
        under_test::binary()?.canonicalize()?,
        env!("CARGO_BIN_EXE_under-test").parse::<std::path::PathBuf>()?
    );
    Ok(())
}

#[test]
fn every_role_explains_itself() -> Result<()> {
    let namespace = Netns::new("help")?;
    for role in ROLES {
        let mut process = Process::spawn(role, under_test::command_in(&namespace, role)?.arg("--help"))?;
        assert!(process.wait_exit(BOUND)?.success(), "{}", process.log());
        assert!(process.log().contains("Usage:"), "{}", process.log());
    }
    Ok(())
}

#[test]
fn an_unknown_role_is_refused() -> Result<()> {
    let mut process = Process::spawn("nobody", &under_test::command("nobody")?)?;
    assert_eq!(process.wait_exit(BOUND)?.code(), Some(2));
    assert!(process.log().contains("nobody"), "{}", process.log());
    Ok(())
}
