//! http: see the plan.
