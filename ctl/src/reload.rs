//! `skynetctl reload`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output},
};
use serde_json::json;
use skynet_proto::ReloadRequest;

pub(crate) async fn run(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let reloaded = daemon.status().await?.reload(ReloadRequest {}).await?.into_inner();
    output.show(&json!({ "need_restart": reloaded.need_restart }), || {
        if reloaded.need_restart.is_empty() {
            return "the configuration is in force".into();
        }
        format!("in force, but for what counts after a restart alone: {}", reloaded.need_restart.join(", "))
    })
}
