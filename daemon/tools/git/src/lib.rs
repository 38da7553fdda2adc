//! x
/// x
#[must_use] pub fn toolset() -> skynet_core::Toolset { skynet_core::Toolset::new() }
