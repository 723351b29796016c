namespace Capsul.Foundation;

/// <summary>The closed list of kinds of refusals. Each maps to one HTTP status and one exit code.</summary>
public enum ProblemKind
{
    /// <summary>The input is wrong; the message says how.</summary>
    Invalid,
    /// <summary>It does not exist, or belongs to somebody else.</summary>
    NotFound,
    /// <summary>It is known, but not allowed.</summary>
    Forbidden,
    /// <summary>It is not possible in the current state.</summary>
    Conflict,
    /// <summary>The balance does not cover it.</summary>
    InsufficientFunds,
    /// <summary>No host has enough capacity.</summary>
    NoCapacity,
    /// <summary>Too many requests; try again later.</summary>
    RateLimited,
    /// <summary>A required service does not respond.</summary>
    Unavailable,
}

/// <summary>
/// An expected refusal, as a value. <paramref name="Message"/> is one sentence for the person who made the request;
/// <paramref name="Detail"/> is for the log and is never shown to a user.
/// </summary>
public sealed record Problem(ProblemKind Kind, string Message, string? Detail = null)
{
    /// <summary>The form field that is wrong, if any; a page shows the message beside it.</summary>
    public string? Field { get; init; }

    /// <summary>Exit code of a CLI verb that ends with this problem (sysexits.h numbers where one fits).</summary>
    public int ExitCode => Kind switch
    {
        ProblemKind.Invalid => 64,
        ProblemKind.NotFound => 66,
        ProblemKind.Unavailable => 69,
        ProblemKind.NoCapacity => 71,
        ProblemKind.RateLimited => 75,
        ProblemKind.Forbidden => 77,
        ProblemKind.Conflict => 73,
        ProblemKind.InsufficientFunds => 70,
    };

    /// <summary>HTTP status of a request that ends with this problem.</summary>
    public int HttpStatus => Kind switch
    {
        ProblemKind.Invalid => 400,
        ProblemKind.NotFound => 404,
        ProblemKind.Forbidden => 403,
        ProblemKind.Conflict => 409,
        ProblemKind.InsufficientFunds => 402,
        ProblemKind.NoCapacity => 503,
        ProblemKind.RateLimited => 429,
        ProblemKind.Unavailable => 503,
    };

    /// <summary>Message and detail in one line, for logs only.</summary>
    public override string ToString() => Detail is null ? $"{Kind}: {Message}" : $"{Kind}: {Message} ({Detail})";
}

/// <summary>
/// Carries a <see cref="Foundation.Problem"/> out of code that cannot continue; caught at the edges (request, step, CLI
/// verb).
/// </summary>
public sealed class ProblemException : Exception
{
    public ProblemException(Problem problem, Exception? inner = null) : base(problem.Message, inner) =>
        Problem = problem;

    public ProblemException(ProblemKind kind, string message, string? detail = null, Exception? inner = null)
        : this(new Problem(kind, message, detail), inner) { }

    public Problem Problem { get; }
}
