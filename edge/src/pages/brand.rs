//! Whose pages they are: name, accent colour, logo. Checked when the edge starts, so that a page can always be read.
//!
//! Never decides what a page says.

use std::path::Path;

use bytes::Bytes;

use crate::limits::shell::{BRAND_LOGO_BYTES_MAX, BRAND_NAME_CHARS_MAX};

/// The contrast that WCAG 2.2 asks of text (success criterion 1.4.3, level AA), with a little to spare for rounding.
const CONTRAST_MIN: f64 = 4.6;
/// What the accent stands on in `page.css`: the card, light and dark.
const CARD_LIGHT: Color = Color([0xff, 0xff, 0xff]);
const CARD_DARK: Color = Color([0x17, 0x1a, 0x20]);
const WHITE: Color = Color([0xff; 3]);
/// Not quite black: what stands on a light accent.
const INK: Color = Color([0x0b, 0x0e, 0x14]);

/// Name, colour and logo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    name: String,
    color: Color,
    logo: Logo,
}

/// A picture and what it is called among the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logo {
    pub(crate) file: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

/// Red, green, blue of sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Color([u8; 3]);

impl Default for Brand {
    fn default() -> Brand {
        Brand { name: "Flux-Gate".to_owned(), color: Color([0x0b, 0x57, 0xd0]), logo: Logo::built_in() }
    }
}

impl Brand {
    /// Of what the command line says; `logo` is read now.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn new(name: &str, color: &str, logo: Option<&Path>) -> Result<Brand, String> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > BRAND_NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(format!("--brand-name must be 1 to {BRAND_NAME_CHARS_MAX} characters"));
        }
        let color = Color::parse(color).ok_or("--brand-color must be a colour such as #0b57d0")?;
        let logo = match logo {
            // An empty variable counts as unset.
            None => Logo::built_in(),
            Some(path) if path.as_os_str().is_empty() => Logo::built_in(),
            Some(path) => Logo::read(path).map_err(|why| format!("--brand-logo {}: {why}", path.display()))?,
        };
        Ok(Brand { name: name.to_owned(), color, logo })
    }

    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, fit to stand in HTML as text or in a quoted attribute.
    pub(crate) fn html_name(&self) -> String {
        let escapes = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
        let mut text = String::with_capacity(self.name.len());
        for character in self.name.chars() {
            match escapes.iter().find(|(special, _)| *special == character) {
                Some((_, escape)) => text.push_str(escape),
                None => text.push(character),
            }
        }
        text
    }

    pub(crate) fn logo(&self) -> &Logo {
        &self.logo
    }

    /// The accent colours, as the end of the style sheet: close to the brand's own, and legible on the card and under text.
    pub(crate) fn css(&self) -> String {
        let light = self.color.readable_on(CARD_LIGHT);
        let dark = self.color.readable_on(CARD_DARK);
        let rule = |accent: Color| format!(":root {{ --accent: {accent}; --on-accent: {}; }}", accent.text_on_it());
        format!("\n{}\n@media (prefers-color-scheme: dark) {{ {} }}\n", rule(light), rule(dark))
    }
}

impl Logo {
    fn built_in() -> Logo {
        let body = Bytes::from_static(include_bytes!("../../static/icon.svg"));
        Logo { file: "icon.svg", content_type: "image/svg+xml", body }
    }

    fn read(path: &Path) -> Result<Logo, String> {
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => ("logo.svg", "image/svg+xml"),
            Some("png") => ("logo.png", "image/png"),
            Some("webp") => ("logo.webp", "image/webp"),
            _ => return Err("must end in .svg, .png or .webp".into()),
        };
        let body = std::fs::read(path).map_err(|error| error.to_string())?;
        if body.is_empty() || body.len() > BRAND_LOGO_BYTES_MAX {
            return Err(format!("must have 1 to {BRAND_LOGO_BYTES_MAX} bytes"));
        }
        Ok(Logo { file: kind.0, content_type: kind.1, body: Bytes::from(body) })
    }
}

impl Color {
    fn parse(text: &str) -> Option<Color> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
        let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(Color([channel(0)?, channel(2)?, channel(4)?]))
    }

    /// Relative luminance (WCAG 2.2), from 0 for black to 1 for white.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// Contrast ratio (WCAG 2.2), from 1 to 21.
    fn contrast(self, other: Color) -> f64 {
        let (one, two) = (self.luminance() + 0.05, other.luminance() + 0.05);
        one.max(two) / one.min(two)
    }

    /// The nearest colour on the way to black (on a light ground) or white (on a dark one) that can be read on `ground`.
    fn readable_on(self, ground: Color) -> Color {
        let end = if ground.luminance() > 0.5 { 0.0 } else { 255.0 };
        let mixed = |percent: u8| {
            let share = f64::from(percent) / 100.0;
            Color(self.0.map(|channel| (f64::from(channel) * (1.0 - share) + end * share).round() as u8))
        };
        (0..=100).map(mixed).find(|color| color.contrast(ground) >= CONTRAST_MIN).expect("black or white can be read")
    }

    /// White or ink, whichever can be read better on it.
    fn text_on_it(self) -> Color {
        if self.contrast(WHITE) >= self.contrast(INK) { WHITE } else { INK }
    }
}

impl std::fmt::Display for Color {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_becomes_one_that_can_be_read() {
        for red in (0..=255).step_by(51) {
            for green in (0..=255).step_by(51) {
                for blue in (0..=255).step_by(51) {
                    let color = Color([red, green, blue]);
                    for card in [CARD_LIGHT, CARD_DARK] {
                        let accent = color.readable_on(card);
                        assert!(accent.contrast(card) >= CONTRAST_MIN, "{color} on {card}");
                        assert!(accent.contrast(accent.text_on_it()) >= 4.5, "text on {accent} of {color}");
                    }
                }
            }
        }
        let blue = Color([0x0b, 0x57, 0xd0]);
        assert_eq!(blue.readable_on(CARD_LIGHT), blue, "what can be read stays as it is");
    }

    #[test]
    fn a_name_cannot_become_markup() {
        let brand = Brand::new("<b>\"Tom\" & 'Co'</b>", "#000000", None).expect("a name");
        assert_eq!(brand.html_name(), "&lt;b&gt;&quot;Tom&quot; &amp; &#39;Co&#39;&lt;/b&gt;");
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        assert!((WHITE.contrast(Color([0; 3])) - 21.0).abs() < 1e-9);
        assert!((Color([0x77; 3]).contrast(WHITE) - 4.48).abs() < 0.01);
    }
}
