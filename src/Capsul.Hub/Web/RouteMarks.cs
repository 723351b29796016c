namespace Capsul.Hub.Web;

/// <summary>
/// Marks a route for which nobody needs to be known (files), to save the look into the table of sessions.
/// </summary>
public sealed class NoSession;

/// <summary>Marks a route that scripts read, not people.</summary>
public sealed class ForScripts;
