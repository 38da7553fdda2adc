//! Slots: where commands run, behind every layer the kernel has.
//!
//! The program `skynet-sandbox` is the broker. It has one thread and little memory, because a slot begins as a copy of
//! it; it keeps slots warm, hands them commands, and passes on how they ended. A slot is a process that is pid 1 of its
//! own namespaces (`slot`). This library also is the daemon's end of it ([`Slots`]).

pub mod broker;
pub mod channel;
mod check;
mod client;
mod landlock_rules;
pub mod protocol;
mod seccomp;
mod slot;
mod syscall;

pub use check::check;
pub use client::{Command, Running, Slots, WARM};
