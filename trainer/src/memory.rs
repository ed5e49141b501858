//! How much memory of the machine is free, and how much this process takes.

use std::fs;
use std::path::{Path, PathBuf};

/// Where version 2 of Linux's control groups shows limits.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes that a program can take: what the system counts as available, or less where a container, or
/// another group that this process is in, may not have as much. None where the system does not tell.
#[must_use]
pub fn free() -> Option<u64> {
    let system = kilobytes("/proc/meminfo", "MemAvailable:");
    let own = own_group(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    system.into_iter().chain(free_in_group(Path::new(GROUPS), &own)).min()
}

/// A line of a file of the system's that tells kilobytes, in bytes.
pub(crate) fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The path of a process's group, out of the lines that the system tells of it; empty for the uppermost.
fn own_group(lines: &str) -> PathBuf {
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/"));
    PathBuf::from(path.unwrap_or_default())
}

/// The least of what is left to a group and to each one that it lies in; none without a limit.
fn free_in_group(groups: &Path, own: &Path) -> Option<u64> {
    let left = |group: &Path| {
        let number = |file: &str| -> Option<u64> {
            fs::read_to_string(groups.join(group).join(file)).ok()?.trim().parse().ok()
        };
        let (limit, taken) = (number("memory.max")?, number("memory.current")?);
        // Pages of files count as taken, and those that nobody looks at are given up when they are wanted.
        let stat = fs::read_to_string(groups.join(group).join("memory.stat")).unwrap_or_default();
        let idle = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
        let idle = idle.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(taken.saturating_sub(idle)))
    };
    own.ancestors().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_free() {
        assert!(free().unwrap() > 0);
        assert_eq!(kilobytes("/proc/meminfo", "NoSuchLine:"), None);
    }

    #[test]
    fn a_group_has_what_its_limit_and_those_above_it_leave() {
        let groups = tempfile::tempdir().unwrap();
        let group = |path: &str, limit: &str, taken: &str, stat: &str| {
            let folder = groups.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in [("max", limit), ("current", taken), ("stat", stat)] {
                fs::write(folder.join(format!("memory.{file}")), text).unwrap();
            }
        };
        group("a", "1000\n", "700\n", "anon 5\ninactive_file 100\n");
        group("a/b", "max\n", "650\n", "");
        group("a/b/c", "900\n", "600\n", "");
        let free = |own: &str| free_in_group(groups.path(), Path::new(own));
        assert_eq!(free("a/b/c"), Some(300));
        assert_eq!(free("a/b"), Some(400));
        assert_eq!((free(""), free("other")), (None, None));
        assert_eq!(
            own_group("1:name=systemd:/x\n0::/user.slice/a.scope\n"),
            Path::new("user.slice/a.scope")
        );
        assert_eq!(own_group("0::/\n"), Path::new(""));
    }
}
