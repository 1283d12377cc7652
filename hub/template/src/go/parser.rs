//! Makes a tree of tokens: [`parse`].

use super::call;
use super::error::{Error, Problem, shown};
use super::lexer::{Kind, Token};
use super::limits::DEPTH;
use super::tree::{Base, Branch, Command, Node, Operand, Pipe, Range};

/// Keywords that are refused.
const REFUSED: [&str; 5] = ["block", "break", "continue", "define", "template"];

/// Returns the tree of a template.
///
/// # Errors
/// Returns an error if the tokens are no template, or if blocks are nested too deep.
pub fn parse(tokens: Vec<Token<'_>>) -> Result<Vec<Node<'_>>, Error> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    match parser.list()? {
        (nodes, Stop::Eof) => Ok(nodes),
        (_, Stop::End) => parser.unexpected("{{end}}", "the template: no block is open"),
        (_, Stop::Else | Stop::ElseIf) => parser.unexpected("{{else}}", "the template: no block is open"),
    }
}

/// What a list of nodes ends with.
enum Stop {
    End,
    Else,
    ElseIf,
    Eof,
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    If,
    With,
    Range,
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    depth: usize,
}

// === impl Parser ===

impl<'t> Parser<'t> {
    fn peek(&self, ahead: usize) -> Option<&Kind<'t>> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<Kind<'t>> {
        let kind = self.peek(0).cloned();
        self.at += 1;
        kind
    }

    /// Returns the line of the next token, or of the last.
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn error<T>(&self, problem: Problem) -> Result<T, Error> {
        Err(Error { line: self.line(), problem })
    }

    fn unexpected<T>(&self, found: &str, place: &'static str) -> Result<T, Error> {
        let line = self.tokens.get(self.at.saturating_sub(1)).map_or(1, |token| token.line);
        Err(Error { line, problem: Problem::Unexpected { found: found.to_owned(), place } })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH {
            return self.error(Problem::Depth);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn expect(&mut self, kind: &Kind<'_>, place: &'static str) -> Result<(), Error> {
        match self.next() {
            Some(found) if found == *kind => Ok(()),
            found => self.unexpected(&named(found.as_ref()), place),
        }
    }

    /// Reads nodes up to `{{end}}`, `{{else}}` or the end of the text.
    fn list(&mut self) -> Result<(Vec<Node<'t>>, Stop), Error> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, Stop::Eof)),
                Some(Kind::Text(text)) => nodes.push(Node::Text(text)),
                Some(Kind::Open) => match self.keyword()? {
                    Some(Keyword::Stop(stop)) => return Ok((nodes, stop)),
                    Some(Keyword::Block(block)) => nodes.push(self.deeper(|parser| parser.block(block))?),
                    None => nodes.push(Node::Print(self.pipe(&Kind::Close, false)?)),
                },
                Some(other) => return self.unexpected(&named(Some(&other)), "the text"),
            }
        }
    }

    /// Reads the keyword of an action, if it begins with one.
    fn keyword(&mut self) -> Result<Option<Keyword>, Error> {
        let Some(Kind::Word(word)) = self.peek(0) else { return Ok(None) };
        let word = *word;
        if let Some(refused) = REFUSED.iter().find(|refused| **refused == word) {
            return self.error(Problem::Keyword(refused));
        }
        let keyword = match word {
            "if" => Keyword::Block(Block::If),
            "with" => Keyword::Block(Block::With),
            "range" => Keyword::Block(Block::Range),
            "end" => Keyword::Stop(Stop::End),
            "else" if self.peek(1) == Some(&Kind::Word("if")) => Keyword::Stop(Stop::ElseIf),
            "else" => Keyword::Stop(Stop::Else),
            _ => return Ok(None),
        };
        self.at += 1;
        match keyword {
            Keyword::Stop(Stop::ElseIf) => self.at += 1,
            Keyword::Stop(_) => self.expect(&Kind::Close, "{{end}} or {{else}}")?,
            Keyword::Block(_) => {}
        }
        Ok(Some(keyword))
    }

    /// Reads a block after its keyword, with its `{{end}}`.
    fn block(&mut self, block: Block) -> Result<Node<'t>, Error> {
        let line = self.line();
        let pipe = self.pipe(&Kind::Close, block == Block::Range)?;
        let (then, stop) = self.list()?;
        let otherwise = match stop {
            Stop::End => Vec::new(),
            Stop::ElseIf if block == Block::If => {
                vec![self.deeper(|parser| parser.block(Block::If))?]
            }
            Stop::ElseIf => return self.unexpected("{{else if}}", "a block that is no {{if}}"),
            Stop::Else => match self.list()? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Eof) => return Err(unclosed(line, block)),
                _ => return self.unexpected("{{else}}", "a block that has one already"),
            },
            Stop::Eof => return Err(unclosed(line, block)),
        };
        Ok(match block {
            Block::Range => Node::Range(Range { pipe, each: then, otherwise }),
            _ => Node::Branch(Branch { pipe, with: block == Block::With, then, otherwise }),
        })
    }

    /// Reads a pipe and the token that ends it.
    fn pipe(&mut self, end: &Kind<'_>, ranges: bool) -> Result<Pipe<'t>, Error> {
        let line = self.line();
        let (variables, assigns) = self.variables(ranges)?;
        let mut commands = Vec::new();
        loop {
            commands.push(self.command(!commands.is_empty())?);
            if self.peek(0) != Some(&Kind::Sign("|")) {
                break;
            }
            self.at += 1;
        }
        self.expect(end, "an action")?;
        Ok(Pipe { line, variables, assigns, commands })
    }

    /// Reads `$v :=`, `$v =` or, in a range, `$i, $v :=`.
    fn variables(&mut self, ranges: bool) -> Result<(Vec<&'t str>, bool), Error> {
        let Some(Kind::Variable(first)) = self.peek(0) else { return Ok((Vec::new(), false)) };
        let first = *first;
        let (variables, signs) = match (self.peek(1), self.peek(2)) {
            (Some(Kind::Sign(",")), Some(Kind::Variable(second))) if ranges => (vec![first, *second], 3),
            _ => (vec![first], 1),
        };
        let assigns = match self.peek(signs) {
            Some(Kind::Sign(":=")) => false,
            Some(Kind::Sign("=")) => true,
            _ => return Ok((Vec::new(), false)),
        };
        self.at += signs + 1;
        match variables.contains(&"$") {
            true => self.unexpected("$", "a declaration"),
            false => Ok((variables, assigns)),
        }
    }

    /// Reads a command. One after a `|` must be a function.
    fn command(&mut self, piped: bool) -> Result<Command<'t>, Error> {
        if let Some(Kind::Word(word)) = self.peek(0)
            && !["true", "false", "nil"].contains(word)
        {
            let Some(function) = call::function(word) else {
                let (name, known) = (shown(word), call::NAMES.join(", "));
                return self.error(Problem::Function { name, known });
            };
            self.at += 1;
            let mut arguments = Vec::new();
            while self.operand_follows() {
                arguments.push(self.operand()?);
            }
            return Ok(Command::Call(function, arguments));
        }
        let name = named(self.peek(0));
        let operand = self.operand()?;
        if piped || self.operand_follows() {
            return self.error(Problem::Arguments(name));
        }
        Ok(Command::Operand(operand))
    }

    /// Returns whether one more operand follows after a space.
    fn operand_follows(&self) -> bool {
        let ends =
            |kind: &Kind<'_>| matches!(kind, Kind::Close) || matches!(kind, Kind::Sign(sign) if *sign != "(");
        self.tokens.get(self.at).is_some_and(|token| token.spaced && !ends(&token.kind))
    }

    fn operand(&mut self) -> Result<Operand<'t>, Error> {
        let base = match self.next() {
            Some(Kind::Quoted(text)) => return Ok(Operand::Text(text)),
            Some(Kind::Int(number)) => return Ok(Operand::Int(number)),
            Some(Kind::Word("true")) => return Ok(Operand::Bool(true)),
            Some(Kind::Word("false")) => return Ok(Operand::Bool(false)),
            Some(Kind::Word("nil")) => return Ok(Operand::Nil),
            Some(Kind::Dot) => return Ok(Operand::Path(Base::Dot, Vec::new())),
            Some(Kind::Field(name)) => return Ok(Operand::Path(Base::Dot, self.fields(vec![name]))),
            Some(Kind::Variable(name)) => Base::Variable(name),
            Some(Kind::Sign("(")) => {
                let pipe = self.deeper(|parser| parser.pipe(&Kind::Sign(")"), false))?;
                Base::Pipe(Box::new(pipe))
            }
            found => return self.unexpected(&named(found.as_ref()), "a command"),
        };
        Ok(Operand::Path(base, self.fields(Vec::new())))
    }

    /// Reads the fields that follow without a space.
    fn fields(&mut self, mut fields: Vec<&'t str>) -> Vec<&'t str> {
        while let Some(Token { kind: Kind::Field(name), spaced: false, .. }) = self.tokens.get(self.at) {
            fields.push(name);
            self.at += 1;
        }
        fields
    }
}

enum Keyword {
    Stop(Stop),
    Block(Block),
}

fn unclosed(line: usize, block: Block) -> Error {
    let name = match block {
        Block::If => "{{if}}",
        Block::With => "{{with}}",
        Block::Range => "{{range}}",
    };
    Error { line, problem: Problem::Unclosed(name) }
}

/// Returns a token as an error shows it.
fn named(kind: Option<&Kind<'_>>) -> String {
    match kind {
        None => "the end of the template".to_owned(),
        Some(Kind::Text(text)) => shown(text),
        Some(Kind::Open) => "{{".to_owned(),
        Some(Kind::Close) => "}}".to_owned(),
        Some(Kind::Dot) => ".".to_owned(),
        Some(Kind::Field(name)) => shown(&format!(".{name}")),
        Some(Kind::Variable(name) | Kind::Word(name)) => shown(name),
        Some(Kind::Quoted(text)) => format!("\"{}\"", shown(text)),
        Some(Kind::Int(number)) => number.to_string(),
        Some(Kind::Sign(sign)) => (*sign).to_owned(),
    }
}
