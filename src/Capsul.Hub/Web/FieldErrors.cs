using Microsoft.AspNetCore.Mvc.ModelBinding;
using Microsoft.AspNetCore.Mvc.Rendering;
using Microsoft.AspNetCore.Mvc.ViewFeatures;
using Microsoft.AspNetCore.Razor.TagHelpers;

namespace Capsul.Hub.Web;

/// <summary>
/// Tells screen readers that a field is invalid, and where the message is: what <c>asp-for</c> leaves out.
/// </summary>
[HtmlTargetElement("input", Attributes = ForName, TagStructure = TagStructure.WithoutEndTag)]
[HtmlTargetElement("textarea", Attributes = ForName)]
public sealed class FieldErrors : TagHelper
{
    const string ForName = "asp-for";

    [HtmlAttributeName(ForName)]
    public ModelExpression For { get; set; } = null!;

    [ViewContext, HtmlAttributeNotBound]
    public ViewContext ViewContext { get; set; } = null!;

    public override void Process(TagHelperContext context, TagHelperOutput output)
    {
        var state = ViewContext.ViewData.ModelState.GetFieldValidationState(For.Name);
        if (state != ModelValidationState.Invalid) return;
        var hint = context.AllAttributes["aria-describedby"]?.Value?.ToString();
        output.Attributes.SetAttribute("aria-invalid", "true");
        output.Attributes.SetAttribute("aria-describedby", $"{For.Name}-error {hint}".TrimEnd());
    }
}
