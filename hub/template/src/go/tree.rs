//! A template after parsing: [`Node`].

/// A part of a template.
#[derive(Debug)]
pub enum Node<'t> {
    /// Text that is printed as it is.
    Text(&'t str),
    /// `{{PIPE}}`. A pipe that sets a variable prints nothing.
    Print(Pipe<'t>),
    /// `{{if}}` or `{{with}}`.
    Branch(Branch<'t>),
    /// `{{range}}`.
    Range(Range<'t>),
}

/// An `{{if}}` or a `{{with}}`.
#[derive(Debug)]
pub struct Branch<'t> {
    /// What is tested.
    pub pipe: Pipe<'t>,
    /// Whether the tested value becomes dot: it is a `{{with}}`.
    pub with: bool,
    /// Runs if the value is true.
    pub then: Vec<Node<'t>>,
    /// Runs otherwise.
    pub otherwise: Vec<Node<'t>>,
}

/// A `{{range}}`.
#[derive(Debug)]
pub struct Range<'t> {
    /// The list. It declares the variables of index and element.
    pub pipe: Pipe<'t>,
    /// Runs for each element.
    pub each: Vec<Node<'t>>,
    /// Runs if the list is empty.
    pub otherwise: Vec<Node<'t>>,
}

/// `$v := command | command`.
#[derive(Debug)]
pub struct Pipe<'t> {
    /// The line, from 1.
    pub line: usize,
    /// The variables that get the value: one, or two in a range.
    pub variables: Vec<&'t str>,
    /// Whether the variables exist already (`=`, not `:=`).
    pub assigns: bool,
    /// The commands. Each gets the value of the one before it as its last argument.
    pub commands: Vec<Command<'t>>,
}

/// An operand, or a function with its arguments.
#[derive(Debug)]
pub enum Command<'t> {
    /// A single operand.
    Operand(Operand<'t>),
    /// A function's name and its arguments.
    Call(&'static str, Vec<Operand<'t>>),
}

/// A value in a command.
#[derive(Debug)]
pub enum Operand<'t> {
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Fields of dot, of a variable or of a pipe in parentheses. There may be none.
    Path(Base<'t>, Vec<&'t str>),
}

/// What an [`Operand::Path`] begins with.
#[derive(Debug)]
pub enum Base<'t> {
    /// The current value.
    Dot,
    /// A variable with its `$`.
    Variable(&'t str),
    /// A pipe in parentheses.
    Pipe(Box<Pipe<'t>>),
}
