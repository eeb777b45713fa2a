//! What goes wrong again and again is said once for each reason, and so is that it is over. Pure.

/// The reason that was said last, while it lasts.
#[derive(Debug, Default)]
pub struct Repeated {
    said: Option<String>,
}

impl Repeated {
    /// It goes wrong for this reason: whether that is to be said.
    pub fn is_new(&mut self, reason: String) -> bool {
        let is_new = self.said.as_deref() != Some(&*reason);
        self.said = Some(reason);
        is_new
    }

    /// It goes well: whether that is to be said.
    pub fn is_over(&mut self) -> bool {
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_and_so_is_the_end() {
        let mut repeated = Repeated::default();
        assert!(!repeated.is_over(), "nothing was said");
        assert!(repeated.is_new("away".to_owned()));
        assert!(!repeated.is_new("away".to_owned()));
        assert!(repeated.is_new("refused".to_owned()) && repeated.is_new("away".to_owned()), "another reason is news");
        assert!(repeated.is_over());
        assert!(!repeated.is_over());
        assert!(repeated.is_new("away".to_owned()), "and so is the same one, later");
    }
}
