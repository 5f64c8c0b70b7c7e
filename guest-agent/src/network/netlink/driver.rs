//! The driver of a link, which rtnetlink tells only of virtual ones.

use std::fs;
use std::path::Path;

/// The kernel driver of the device below a link, from sysfs; none for a virtual link.
pub(super) fn of(name: &str, index: u32) -> Option<String> {
    let link = Path::new("/sys/class/net").join(name);
    // A sysfs of another network namespace has other links under the same names.
    let same = fs::read_to_string(link.join("ifindex")).ok()?;
    if same.trim().parse() != Ok(index) {
        return None;
    }
    let driver = fs::read_link(link.join("device/driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}
