//! Who a process is, where the broker serves many users.

use rustix::{
    process::{DumpableBehavior, Gid, Signal, Uid},
    thread::{
        CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};
use skynet_sandbox::protocol::Identity;
use std::io;

/// With this a slot makes mounts, but for the kernel it opens nothing that its user could not.
pub(crate) const MOUNTS: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP);

/// Makes this process, which must have one thread, one of that user, with no way back; of root's rights only `kept`
/// are left (capabilities(7)).
pub(crate) fn assume(identity: &Identity, kept: CapabilitySet) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups)?;
    set_keep_capabilities(true)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    // Both were reset with the user (prctl(2), PR_SET_PDEATHSIG and PR_SET_DUMPABLE).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
