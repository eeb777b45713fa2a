//! What an operator has set wrong in a server, as it is logged, exported and told by `flux-edge check`.

/// One setting that is not as the guarantees need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name, as its server has it.
    pub setting: &'static str,
    /// What it is set to; `None`: the server does not say.
    pub value: Option<String>,
    /// Why it does not say, where it told that.
    pub unread: Option<String>,
    /// What may be lost.
    pub risk: &'static str,
    /// What to set.
    pub remedy: &'static str,
}

impl Finding {
    /// What is wrong with its server, or not known of it, in words for an operator.
    pub fn in_words(&self) -> String {
        let Finding { setting, value, unread, risk, remedy } = self;
        match (value, unread) {
            (Some(value), _) => format!("{setting} is {value}: {risk}; {remedy}"),
            (None, Some(why)) => format!("does not say what {setting} is, since {why}: look yourself, and {remedy}"),
            (None, None) => format!("does not say what {setting} is: look yourself, and {remedy}"),
        }
    }
}

#[cfg(test)]
impl Finding {
    pub(crate) fn example(setting: &'static str) -> Finding {
        let value = Some("wrong".to_owned());
        Finding { setting, value, unread: None, risk: "orders are lost", remedy: "set it right" }
    }
}

/// The names of what is set wrong in `findings`; none where nothing was looked at yet.
pub fn names(findings: Option<&[Finding]>) -> Vec<&'static str> {
    let wrong = findings.unwrap_or_default().iter().filter(|finding| finding.value.is_some());
    wrong.map(|finding| finding.setting).collect()
}
