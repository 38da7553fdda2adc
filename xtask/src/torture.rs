//! The tests of what must survive, with large counts and the programs as released.

use crate::{environment, test};
use anyhow::Result;
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// How often to kill, in each test of one kind of death.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// How often to kill the daemon while it indexes, and while it makes vectors.
    #[arg(long, default_value_t = 50)]
    index_kills: u32,
    /// How often to kill daemon, broker, hands and, with the daemon, the power, in turn.
    #[arg(long, default_value_t = 200)]
    cycles: u32,
    /// How many calls to pipeline.
    #[arg(long, default_value_t = 20_000)]
    pipelined: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if crate::shell::is_root() {
        environment::up_for_tests()?;
    }
    let variables = [
        ("SKYNET_TEST_KILLS", options.kills.to_string()),
        ("SKYNET_TEST_INDEX_KILLS", options.index_kills.to_string()),
        ("SKYNET_TEST_CYCLES", options.cycles.to_string()),
        ("SKYNET_TEST_PIPELINED", options.pipelined.to_string()),
    ];
    for filter in ["restart::", "relay::", "knowledge::"] {
        test::run_with(&test::Options { filter: Some(filter.into()), nocapture: false }, &variables)?;
    }
    Ok(())
}
