//! `{{.Label "key"}}`: in Docker's lists this is a method, and a template of values has none.
//!
//! The field is a function there, so what is missing is the `call` of it: the tree of the template gets it.

use gotmpl::parse::{
    ActionNode, BranchNode, CommandNode, DefineNode, Expr, ListNode, Node, PipeNode, SmolStr,
    TemplateNode,
};

/// A template in which fields that are given arguments are called with them.
pub(super) fn called(list: &ListNode) -> ListNode {
    ListNode {
        pos: list.pos,
        nodes: list.nodes.iter().map(node).collect(),
    }
}

fn node(node: &Node) -> Node {
    match node {
        Node::List(list) => Node::List(called(list)),
        Node::Action(action) => Node::Action(ActionNode {
            pos: action.pos,
            pipe: pipe(&action.pipe),
        }),
        Node::If(all) => Node::If(branch(all)),
        Node::Range(all) => Node::Range(branch(all)),
        Node::With(all) => Node::With(branch(all)),
        Node::Template(template) => Node::Template(TemplateNode {
            pipe: template.pipe.as_ref().map(pipe),
            ..template.clone()
        }),
        Node::Define(define) => Node::Define(DefineNode {
            body: called(&define.body),
            ..define.clone()
        }),
        other => other.clone(),
    }
}

fn branch(branch: &BranchNode) -> BranchNode {
    BranchNode {
        pos: branch.pos,
        pipe: pipe(&branch.pipe),
        body: called(&branch.body),
        else_body: branch.else_body.as_ref().map(called),
    }
}

fn pipe(pipe: &PipeNode) -> PipeNode {
    PipeNode {
        commands: pipe.commands.iter().map(command).collect(),
        ..pipe.clone()
    }
}

fn command(command: &CommandNode) -> CommandNode {
    let mut args: Vec<Expr> = command.args.iter().map(expression).collect();
    if let [Expr::Field(..) | Expr::Variable(..), _, ..] = args.as_slice() {
        args.insert(0, Expr::Identifier(command.pos, SmolStr::new("call")));
    }
    CommandNode {
        pos: command.pos,
        args,
    }
}

fn expression(expression: &Expr) -> Expr {
    match expression {
        Expr::Pipe(pos, inner) => Expr::Pipe(*pos, pipe(inner)),
        Expr::Chain(pos, inner, fields) => {
            Expr::Chain(*pos, Box::new(self::expression(inner)), fields.clone())
        }
        other => other.clone(),
    }
}
