//! Runs a template: [`run`], within a [`Budget`].

use super::call;
use super::error::{Error, Problem, shown};
use super::limits::{OUTPUT_BYTES, WORK};
use super::tree::{Base, Branch, Command, Node, Operand, Pipe, Range};
use super::value::Value;

/// How many steps are left to the templates that share it.
#[derive(Debug)]
pub struct Budget(usize);

/// Runs the nodes of a template.
///
/// # Errors
/// Returns an error with the line if the template can't go on, or uses up the budget.
pub fn run(nodes: &[Node<'_>], dot: &Value, budget: &mut Budget) -> Result<String, Error> {
    let variables = vec![("$", dot.clone())];
    let mut run = Run { variables, budget, output: String::new(), line: 1 };
    match run.list(nodes, dot) {
        Ok(()) => Ok(run.output),
        Err(problem) => Err(Error { line: run.line, problem }),
    }
}

struct Run<'t, 'b> {
    /// The variables in scope, the newest last.
    variables: Vec<(&'t str, Value)>,
    budget: &'b mut Budget,
    output: String,
    /// The line of the newest pipe.
    line: usize,
}

// === impl Budget ===

impl Default for Budget {
    fn default() -> Self {
        Self(WORK)
    }
}

impl Budget {
    fn take(&mut self, steps: usize) -> Result<(), Problem> {
        self.0 = self.0.checked_sub(steps).ok_or(Problem::Work)?;
        Ok(())
    }
}

// === impl Run ===

impl<'t> Run<'t, '_> {
    fn list(&mut self, nodes: &'t [Node<'t>], dot: &Value) -> Result<(), Problem> {
        let mark = self.variables.len();
        for node in nodes {
            self.budget.take(1)?;
            match node {
                Node::Text(text) => self.print(text)?,
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.print(&value.printed().ok_or(Problem::Print(value.kind()))?)?;
                    }
                }
                Node::Branch(branch) => self.branch(branch, dot)?,
                Node::Range(range) => self.range(range, dot)?,
            }
        }
        self.variables.truncate(mark);
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<(), Problem> {
        if self.output.len() + text.len() > OUTPUT_BYTES {
            return Err(Problem::OutputBytes);
        }
        self.output.push_str(text);
        self.budget.take(text.len() / 16)
    }

    fn branch(&mut self, branch: &'t Branch<'t>, dot: &Value) -> Result<(), Problem> {
        let mark = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        match value.truth() {
            true if branch.with => self.list(&branch.then, &value)?,
            true => self.list(&branch.then, dot)?,
            false => self.list(&branch.otherwise, dot)?,
        }
        self.variables.truncate(mark);
        Ok(())
    }

    fn range(&mut self, range: &'t Range<'t>, dot: &Value) -> Result<(), Problem> {
        let mark = self.variables.len();
        let list = match self.commands(&range.pipe, dot)? {
            Value::List(list) => list,
            Value::Nil => [].into(),
            other => return Err(Problem::Range(other.kind())),
        };
        for (index, element) in (0_i64..).zip(list.iter()) {
            self.budget.take(1)?;
            let values = match range.pipe.variables.len() {
                2 => [Value::Int(index), element.clone()],
                _ => [element.clone(), Value::Nil],
            };
            for (name, value) in range.pipe.variables.iter().zip(values) {
                self.set(name, value, range.pipe.assigns)?;
            }
            self.list(&range.each, element)?;
            self.variables.truncate(mark);
        }
        if list.is_empty() {
            self.list(&range.otherwise, dot)?;
        }
        Ok(())
    }

    /// Returns the value of a pipe, and sets its variables.
    fn pipe(&mut self, pipe: &'t Pipe<'t>, dot: &Value) -> Result<Value, Problem> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assigns)?;
        }
        Ok(value)
    }

    fn set(&mut self, name: &'t str, value: Value, assigns: bool) -> Result<(), Problem> {
        if !assigns {
            self.variables.push((name, value));
            return Ok(());
        }
        let variable = self.variables.iter_mut().rfind(|(known, _)| *known == name);
        let variable = variable.ok_or_else(|| Problem::Variable(shown(name)))?;
        variable.1 = value;
        Ok(())
    }

    fn commands(&mut self, pipe: &'t Pipe<'t>, dot: &Value) -> Result<Value, Problem> {
        self.line = pipe.line;
        let mut piped = None;
        for command in &pipe.commands {
            self.budget.take(1)?;
            piped = Some(match command {
                Command::Operand(operand) => self.operand(operand, dot)?,
                Command::Call(function, operands) => {
                    let values = operands.iter().map(|operand| self.operand(operand, dot));
                    let mut values: Vec<Value> = values.collect::<Result<_, _>>()?;
                    values.extend(piped);
                    self.line = pipe.line;
                    self.budget.take(values.iter().map(Value::cost).sum())?;
                    call::call(function, &values)?
                }
            });
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn operand(&mut self, operand: &'t Operand<'t>, dot: &Value) -> Result<Value, Problem> {
        let (base, fields) = match operand {
            Operand::Nil => return Ok(Value::Nil),
            Operand::Bool(value) => return Ok(Value::Bool(*value)),
            Operand::Int(value) => return Ok(Value::Int(*value)),
            Operand::Text(text) => {
                self.budget.take(text.len() / 16)?;
                return Ok(Value::text(text));
            }
            Operand::Path(base, fields) => (base, fields),
        };
        let mut value = match base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => self.variable(name)?,
            Base::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        self.budget.take(1 + fields.len())?;
        for field in fields {
            value = get(&value, field)?;
        }
        Ok(value)
    }

    fn variable(&mut self, name: &str) -> Result<Value, Problem> {
        self.budget.take(1 + self.variables.len() / 16)?;
        let found = self.variables.iter().rfind(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| Problem::Variable(shown(name)))
    }
}

fn get(value: &Value, field: &str) -> Result<Value, Problem> {
    let missing = |of: String| Problem::Field { field: shown(field), of };
    let Value::Record(fields) = value else { return Err(missing(value.kind().to_owned())) };
    let known = || fields.keys().copied().collect::<Vec<_>>().join(", ");
    fields.get(field).cloned().ok_or_else(|| missing(format!("a record of {}", known())))
}
