namespace Capsul.Foundation;

public enum Verdict { Ok, Warn, Fail }

/// <summary>
/// One line of <c>capsul doctor</c>: what was checked, and the result; if it is not ok, also what to do.
/// </summary>
public sealed record Finding(Verdict Verdict, string What, string Says);
