using System.Diagnostics.CodeAnalysis;

namespace Capsul.Foundation;

/// <summary>A value, or the <see cref="Foundation.Problem"/> that prevented it. Exactly one of the two.</summary>
public readonly record struct Outcome<T>
{
    Outcome(T? value, Problem? problem) => (Value, Problem) = (value, problem);

    public T? Value { get; }

    public Problem? Problem { get; }

    /// <summary>True, with the problem, if it was refused.</summary>
    public bool Refused([NotNullWhen(true)] out Problem? problem, [NotNullWhen(false)] out T? value)
    {
        (problem, value) = (Problem, Value);
        return problem is not null;
    }

    public static implicit operator Outcome<T>(T value) => new(value, null);

    public static implicit operator Outcome<T>(Problem problem) => new(default, problem);

    /// <summary>Returns the value, or throws the problem. For callers at an edge, such as a CLI verb.</summary>
    public T OrThrow() => Problem is null ? Value! : throw new ProblemException(Problem);
}
