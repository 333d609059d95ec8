//! Transactional ids. A producer fences the earlier producer with the same id, so no two producers
//! may share one by chance.

use super::Settings;

impl Settings {
    /// The prefix of the transactional ids of this group's producers. No other group has it,
    /// because the parts between the separators hold no separator.
    pub fn transactional_prefix(&self) -> String {
        format!("claimgate/{}/", escaped(&self.group_id))
    }

    /// The transactional id of a worker of the group.
    pub fn worker_id(&self, member: &str) -> String {
        format!("{}worker/{}", self.transactional_prefix(), escaped(member))
    }

    /// The transactional id of a group's command, such as `replay`.
    pub fn command_id(&self, word: &str) -> String {
        format!("{}{word}", self.transactional_prefix())
    }
}

/// A name in which `/` does not occur.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(group: &str) -> Settings {
        let text =
            format!("[kafka]\ngroup_id = {group:?}\n[wechat]\napp_id = \"wx\"\napp_secret = \"s\"");
        crate::config::Config::from_toml(&text).expect("the settings are right").kafka
    }

    #[test]
    fn transactional_ids_are_unique() {
        let id = |group: &str, member: &str| settings(group).worker_id(member);
        assert_ne!(id("a", "b-c"), id("a-b", "c"));
        assert_ne!(id("a", "b/worker/c"), id("a/worker/b", "c"));
        assert_ne!(id("a", "b%2Fc"), id("a", "b/c"));
        assert_ne!(id("a", "dead-letters"), settings("a").command_id("replay"));
        assert_ne!(id("a", "replay"), settings("a").command_id("replay"));
        assert_eq!(id("claims", "claimgate-0"), "claimgate/claims/worker/claimgate-0");
    }
}
