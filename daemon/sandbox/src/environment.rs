//! Which variables programs of ours are given that run as somebody: what their daemon may tell them. It never lets through one that
//! has other code loaded (ld.so(8)), or another bus or program used, because such a program runs where commands do not.

/// A tool's answer takes some buffers of up to a few hundred kilobytes; glibc would give their memory back to the kernel
/// after every call, and take and clear it anew at the next (mallopt(3), `M_TRIM_THRESHOLD`). That was a third of the
/// time of reading 100 kB.
pub const MEMORY: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=4194304:glibc.malloc.mmap_threshold=4194304");

/// Those that may have any value.
const NAMES: [&str; 6] = ["HOME", "LANG", "LOGNAME", "PATH", "TZ", "USER"];

/// Whether `variable`, a `NAME=value`, is given to a program of ours.
#[must_use]
pub fn is_ours(variable: &[u8]) -> bool {
    let mut parts = variable.splitn(2, |byte| *byte == b'=');
    let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return false };
    NAMES.iter().any(|known| known.as_bytes() == name)
        || (name == MEMORY.0.as_bytes() && value == MEMORY.1.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_other_code_into_a_program_of_ours_is_not_given_to_it() {
        let memory = format!("{}={}", MEMORY.0, MEMORY.1);
        for kept in ["HOME=/home/ann", "PATH=/usr/bin:/bin", "LANG=", "TZ=a=b", &memory] {
            assert!(is_ours(kept.as_bytes()), "{kept}");
        }
        for refused in [
            "LD_PRELOAD=/tmp/x.so",
            "LD_LIBRARY_PATH=/tmp",
            "LD_AUDIT=/tmp/x.so",
            "GLIBC_TUNABLES=glibc.malloc.check=3",
            "DBUS_SYSTEM_BUS_ADDRESS=unixexec:path=/bin/sh",
            "PATH",
            "=x",
            "",
        ] {
            assert!(!is_ours(refused.as_bytes()), "{refused}");
        }
    }
}
