//! Tools that talk to another host: each call has hands of its own, with a way to that host and to no other.

use crate::{pool::Pool, process::Way};
use async_trait::async_trait;
use bytes::Bytes;
use skynet_core::{CallCtx, Canonical, Error, Result, Run, ctx};
use skynet_egress::{Gateway, IpNet};
use std::sync::Arc;

/// Runs the tools that talk to another host.
pub struct Remote {
    pool: Arc<Pool>,
    /// Addresses besides those of the internet at which a remote may be.
    reachable: Arc<[IpNet]>,
}

impl Remote {
    /// One that asks hands of `pool` where a remote is, which may be at an address of the internet or at a `reachable` one.
    #[must_use]
    pub fn new(pool: &Arc<Pool>, reachable: Vec<IpNet>) -> Self {
        Self { pool: pool.clone(), reachable: reachable.into() }
    }
}

#[async_trait]
impl Run for Remote {
    async fn run(&self, ctx: &CallCtx, name: &'static str, input: &Canonical) -> Result<Bytes> {
        let asked = ["repository", "remote", "url"].into_iter();
        let asked = asked.filter_map(|key| Some((key.to_owned(), input.members().get(key)?.clone())));
        let asked = Canonical::from_map(asked.collect())?;
        let family = name.split('_').next().unwrap_or(name);
        let found =
            self.pool.call(Some(ctx.workspace()?), ctx, &format!("{family}_find_remote"), &asked).await?;
        let unusable = |err| Error::internal("hands found no remote").with_source(err);
        let remote: ctx::Remote = serde_json::from_slice(&found).map_err(unusable)?;
        let ctx::Remote { host, port, .. } = &remote;
        // What Git asks is answered by Git alone; a page may be any service of this host and the networks beside it.
        if family != "git"
            && let Ok(address) = host.parse()
            && !skynet_egress::is_public(address)
            && !self.reachable.iter().any(|network| network.contains(&address))
        {
            return Err(Error::denied(format!(
                "`{host}` is no address of the internet; an administrator lets it be reached by `network.reachable`"
            )));
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let grant = format!("{host}:{port}").parse().map_err(Error::invalid_input)?;
        let gateway = Gateway::new(vec![grant], self.reachable.clone());
        let caller = &ctx.origin()?.caller;
        // It ends with this call.
        let way = Way { gateway, remote };
        let process = self.pool.start(caller, Some(ctx.workspace()?), Some(way)).await?;
        let result = process.call(ctx, name, input).await;
        result.unwrap_or_else(|| {
            Err(Error::interrupted(format!(
                "the process that ran `{name}` died, so it may or may not have happened; look before you call it again"
            )))
        })
    }
}
