//! What a policy looks at, found in its expressions, and what is left of it when the arguments of a call are
//! not known.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::pst::{
    BinaryOp, Clause, Effect, EntityUID, Expr, Literal, Policy, PstConstructionError, StaticPolicy, Template,
    UnaryOp, Var,
};

/// Keys of `context.arguments` or `context.numbers` that are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// These.
    Named(BTreeSet<String>),
    /// Any: a key is computed, or the entity itself is used as a value.
    All,
}

impl Default for Keys {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Keys {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Named(keys) if keys.is_empty())
    }

    /// Whether this one is among them.
    pub(super) fn contains(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(keys) => keys.contains(key),
        }
    }

    /// Whether it is any key.
    pub(super) const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Those that are named.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        let named = match self {
            Self::Named(keys) => Some(keys),
            Self::All => None,
        };
        named.into_iter().flatten().map(String::as_str)
    }

    fn add(&mut self, key: &str) {
        if let Self::Named(keys) = self {
            keys.insert(key.into());
        }
    }

    fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Named(ours), Self::Named(others)) => ours.extend(others.iter().cloned()),
            _ => *self = Self::All,
        }
    }
}

/// The parts of a call that change from one call to the next, as far as they are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) arguments: Keys,
    pub(super) numbers: Keys,
    /// `context.time`, or the time since the sign-in, which passes as well.
    pub(super) time: bool,
    pub(super) address: bool,
    /// `context.revision`: not known of what no request asks for.
    pub(super) revision: bool,
}

impl Reads {
    /// Of a policy: its conditions. What stands in its head is about who and what, not about the call.
    pub(super) fn of(template: &Template) -> Self {
        let mut reads = Self::default();
        for clause in template.clauses() {
            let (Clause::When(expression) | Clause::Unless(expression)) = clause;
            reads.visit(expression);
        }
        reads
    }

    /// Whether the next call of the same subject to the same object could be answered differently.
    pub(super) fn changes(&self) -> bool {
        self.reads_arguments() || self.time || self.address
    }

    /// Whether arguments are looked at.
    pub(super) fn reads_arguments(&self) -> bool {
        !self.arguments.is_empty() || !self.numbers.is_empty()
    }

    /// Takes over what another one looks at.
    pub(super) fn join(&mut self, other: &Self) {
        self.arguments.join(&other.arguments);
        self.numbers.join(&other.numbers);
        self.time |= other.time;
        self.address |= other.address;
        self.revision |= other.revision;
    }

    fn everything() -> Self {
        Self {
            arguments: Keys::All,
            numbers: Keys::All,
            time: true,
            address: true,
            revision: true,
        }
    }

    fn context(&mut self, member: &str) {
        match member {
            "arguments" => self.arguments = Keys::All,
            "numbers" => self.numbers = Keys::All,
            "time" | "authenticated" => self.time = true,
            "address" => self.address = true,
            "revision" => self.revision = true,
            _ => {}
        }
    }

    fn visit(&mut self, expression: &Expr) {
        match expression {
            Expr::BinaryOp {
                op: BinaryOp::GetTag | BinaryOp::HasTag,
                left,
                right,
            } => match (context_member(left), &**right) {
                (Some("arguments"), Expr::Literal(Literal::String(key))) => self.arguments.add(key),
                (Some("numbers"), Expr::Literal(Literal::String(key))) => self.numbers.add(key),
                _ => {
                    self.visit(left);
                    self.visit(right);
                }
            },
            Expr::GetAttr { expr, attr } => match &**expr {
                Expr::Var(Var::Context) => self.context(attr),
                _ => self.visit(expr),
            },
            Expr::HasAttr { expr, attrs } => match &**expr {
                Expr::Var(Var::Context) => self.context(attrs.first()),
                _ => self.visit(expr),
            },
            // The context as a value, and whatever this release of the language does not have yet.
            Expr::Var(Var::Context) => *self = Self::everything(),
            Expr::Literal(Literal::EntityUID(uid)) => self.entity(uid),
            Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) => {}
            Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => self.visit(expr),
            Expr::BinaryOp { left, right, .. } => {
                self.visit(left);
                self.visit(right);
            }
            Expr::Is { expr, in_expr, .. } => {
                self.visit(expr);
                if let Some(within) = in_expr {
                    self.visit(within);
                }
            }
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => {
                self.visit(cond);
                self.visit(then_expr);
                self.visit(else_expr);
            }
            Expr::Set(members) => members.iter().for_each(|member| self.visit(member)),
            Expr::Record(members) => members.values().for_each(|member| self.visit(member)),
            _ => *self = Self::everything(),
        }
    }

    /// Whoever guesses the name of the entity that holds the arguments reads them.
    fn entity(&mut self, uid: &EntityUID) {
        match uid.ty.0.id.as_str() {
            "Arguments" => self.arguments = Keys::All,
            "Numbers" => self.numbers = Keys::All,
            _ => {}
        }
    }
}

fn context_member(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::GetAttr { expr, attr } if matches!(**expr, Expr::Var(Var::Context)) => Some(attr),
        _ => None,
    }
}

/// The policy that is left when nothing is known of the request but who makes it, from where and when: a permit
/// that holds wherever some request would have it hold, a forbid that holds only where every request has.
pub(super) fn hopeful(template: &Template) -> Result<Policy, PstConstructionError> {
    // A permit becomes wider, a forbid narrower; `unless` turns that round.
    let wider = template.effect == Effect::Permit;
    let clauses = template.clauses().iter().map(|clause| match clause {
        Clause::When(expression) => Clause::When(bound(expression, wider)),
        Clause::Unless(expression) => Clause::Unless(bound(expression, !wider)),
    });
    let head = Template::new(
        template.id.clone(),
        template.effect,
        template.principal.clone(),
        template.action.clone(),
        template.resource.clone(),
    );
    let policy = head
        .try_with_clauses(clauses.collect::<Vec<_>>())?
        .with_annotations(template.annotations.clone());
    Ok(Policy::Static(StaticPolicy::try_from(policy)?))
}

fn is_unknown(expression: &Expr) -> bool {
    let mut reads = Reads::default();
    reads.visit(expression);
    reads.reads_arguments() || reads.revision
}

/// A condition that follows from this one (`upper`), or that this one follows from (not `upper`), and that
/// reads nothing unknown.
fn bound(expression: &Arc<Expr>, upper: bool) -> Arc<Expr> {
    if !is_unknown(expression) {
        return Arc::clone(expression);
    }
    let join = |op, left, right| Arc::new(Expr::BinaryOp { op, left, right });
    match &**expression {
        Expr::UnaryOp {
            op: UnaryOp::Not,
            expr,
        } => Arc::new(Expr::UnaryOp {
            op: UnaryOp::Not,
            expr: bound(expr, !upper),
        }),
        Expr::BinaryOp {
            op: op @ (BinaryOp::And | BinaryOp::Or),
            left,
            right,
        } => join(*op, bound(left, upper), bound(right, upper)),
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => {
            let (then_expr, else_expr) = (bound(then_expr, upper), bound(else_expr, upper));
            match (is_unknown(cond), upper) {
                (false, _) => Arc::new(Expr::IfThenElse {
                    cond: Arc::clone(cond),
                    then_expr,
                    else_expr,
                }),
                (true, true) => join(BinaryOp::Or, then_expr, else_expr),
                (true, false) => join(BinaryOp::And, then_expr, else_expr),
            }
        }
        _ => Arc::new(Expr::Literal(Literal::Bool(upper))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        policy.to_pst().unwrap().body().clone()
    }

    fn reads(condition: &str) -> Reads {
        Reads::of(&template(&format!(
            "permit(principal, action, resource) when {{ {condition} }};"
        )))
    }

    #[test]
    fn r30_what_a_policy_reads_is_found_in_its_expression_not_in_its_text() {
        let named = |keys: &[&str]| Keys::Named(keys.iter().map(|key| (*key).to_owned()).collect());
        for (condition, changes) in [
            (r#"principal.name == "context.arguments""#, false),
            (r#"context.client like "*context.time*""#, false),
            (
                r#"context.scopes.contains("a") && context["tenant"] == "t""#,
                false,
            ),
            (r#"context["time"].hour < 3"#, true),
            ("context has address && context.address.isLoopback()", true),
            ("context has authenticated", true),
            (r#"context["arguments"].hasTag("a")"#, true),
            (r#"context.numbers.hasTag("a")"#, true),
            ("context == context", true),
            ("{a: context}.a.client == \"x\"", true),
            (
                r#"(if true then context.arguments else context.arguments).hasTag("x")"#,
                true,
            ),
            (r#"Doorward::Arguments::"call".hasTag("x")"#, true),
            (r#"[context.numbers].contains(Doorward::Numbers::"x")"#, true),
        ] {
            assert_eq!(reads(condition).changes(), changes, "{condition}");
        }
        let both =
            reads(r#"context.arguments.hasTag("a.b") && context.arguments.getTag("a.b") == context.client"#);
        assert_eq!(both.arguments, named(&["a.b"]));
        assert!(both.numbers.is_empty());
        let computed = reads("context.arguments.hasTag(context.client)");
        assert_eq!(computed.arguments, Keys::All);
        assert!(reads("context.revision == \"x\"").revision);
    }

    #[test]
    fn without_arguments_a_permit_grows_and_a_forbid_shrinks() {
        for (policy, condition) in [
            ("permit", r#"when { context.arguments.hasTag("a") }"#, ),
            ("forbid", r#"when { context.arguments.hasTag("a") }"#),
            ("permit", r#"unless { context.arguments.hasTag("a") && principal.name == "b" }"#),
            ("permit", r#"when { !(context.numbers.hasTag("a") || context.client == "c") }"#),
            ("forbid", r#"when { if context.arguments.hasTag("a") then principal.name == "a" else principal.name == "b" }"#),
            ("permit", r#"when { if context.arguments.hasTag("a") then principal.name == "a" else principal.name == "b" }"#),
            ("permit", r#"when { if principal.name == "a" then context.arguments.hasTag("a") else false }"#),
        ]
        .map(|(effect, clause)| (format!("{effect}(principal, action, resource) {clause};"), clause))
        {
            let left = hopeful(&template(&policy)).unwrap();
            assert!(!Reads::of(left.body()).reads_arguments(), "{condition}");
        }
        let left = |clause: &str| {
            let policy = format!("forbid(principal, action, resource) {clause};");
            let policy = hopeful(&template(&policy)).unwrap();
            policy
                .body()
                .clauses()
                .iter()
                .map(ToString::to_string)
                .collect::<String>()
        };
        assert_eq!(
            left(r#"when { context.arguments.hasTag("a") }"#),
            "when { false }"
        );
        assert_eq!(
            left(r#"unless { context.arguments.hasTag("a") }"#),
            "unless { true }"
        );
        assert_eq!(
            left(r#"when { !context.arguments.hasTag("a") && context.client == "c" }"#),
            r#"when { (!true) && (context.client == "c") }"#,
        );
    }
}
