//! Who a process is, where the broker serves many users.

use rustix::{
    process::{DumpableBehavior, Gid, Signal, Uid},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use skynet_sandbox::protocol::Identity;
use std::io;

/// With this a slot makes mounts, but for the kernel it opens nothing that its user could not.
pub(crate) const MOUNTS: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP);

/// What a slot may have take effect for a moment, besides: to lay down an overlay, where the kernel makes a directory for itself
/// that nobody else may enter, and to have what it runs be born in a control group that is root's. Nothing is opened
/// meanwhile, and who looks through an overlay is asked for his own rights all the same (overlayfs, "Permission model").
pub(crate) const RESERVED: CapabilitySet = MOUNTS.union(CapabilitySet::DAC_OVERRIDE);

/// Has some of the rights that this process may have take effect, and lets the rest go if it `is_last`.
pub(crate) fn use_rights(effective: CapabilitySet, is_last: bool) -> io::Result<()> {
    let permitted = if is_last { effective } else { capabilities(None)?.permitted };
    Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })?)
}

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
