"""How the page looks: Gradio's default theme with calmer colours, readable in both modes."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

SCRIPTS = ("page.js", "layout.js")  # each one function


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


SCRIPT = "() => {\n" + "\n".join(f"({_read(name)})();" for name in SCRIPTS) + "\n}"

# Gradio's own "semi-bold" file lacks most letters; the bold one has them.
FONT = gr.themes.LocalFont("Source Sans Pro", weights=(400, 700))

THEME = gr.themes.Default(
    font=[FONT, "ui-sans-serif", "system-ui", "sans-serif"],
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
).set(
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_500",
    block_shadow="none",
    checkbox_border_radius="4px",
    button_cancel_background_fill="#dc2626",
    button_cancel_background_fill_hover="#b91c1c",
)

CSS = """
.gradio-container { max-width: 1240px !important; width: 100%; margin: 0 auto !important; }
.gradio-container > main, .gradio-container .wrap { width: 100%; }
#head h1 { font-size: 1.5rem; margin: 0; letter-spacing: -0.01em; }
#head p { margin: 0.15rem 0 0; color: var(--body-text-color-subdued); font-size: 0.9rem; }
#train-running p { color: var(--body-text-color); font-weight: 600; overflow-wrap: anywhere; }
#train-running p::before { content: ""; display: inline-block; width: 0.6em; height: 0.6em;
  margin-right: 0.5em; border-radius: 50%; background: var(--primary-500); }
#train-running:not(:has(p)) { display: none; }
/* The tab itself says more. */
body:has(#tab-train-button[aria-selected="true"]) #train-running { display: none; }
.section { font-size: 0.95rem; font-weight: 600; margin: 0; }
.lead { color: var(--body-text-color-subdued); font-size: 0.95rem; margin: 0.25rem 0; }
.lead.small { font-size: 0.85rem; }
.empty p { margin: 0; color: inherit; font: inherit; }
.empty { border: 1px dashed var(--border-color-primary); border-radius: 12px; padding: 2.5rem 1rem;
  text-align: center; color: var(--body-text-color-subdued); }
.notice { border-left: 4px solid; border-radius: 6px; padding: 0.5rem 0.8rem; font-size: 0.95rem;
  overflow-wrap: anywhere; }
.notice p { margin: 0.1rem 0; color: var(--body-text-color); }
.notice.error { border-color: #dc2626; background: rgb(220 38 38 / 10%); }
.notice.hint { border-color: #d97706; background: rgb(217 119 6 / 10%); }
.notice.good { border-color: #16a34a; background: rgb(22 163 74 / 10%); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; margin: 0;
  font-size: 0.95rem; }
.facts dt { color: var(--body-text-color-subdued); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.boxed { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 1rem; }
.choice { justify-content: space-between; }
.choice > * { flex-grow: 0 !important; }
.choice pre { margin: 0.5rem 0 0; font-size: 0.9rem; }
.actions { flex-wrap: wrap !important; }
.actions > * { flex: 0 1 auto !important; width: auto !important; }
.joined { align-items: end !important; }
#library-portrait img { width: 100%; height: 100%; object-fit: contain; }
#name-list { position: fixed; z-index: 1000; margin: 0; padding: 4px; list-style: none;
  min-width: 180px; max-width: 360px; border-radius: 8px;
  font-family: var(--font); color: var(--body-text-color);
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary);
  box-shadow: 0 4px 16px rgb(0 0 0 / 20%); }
#name-list li { padding: 6px 10px; border-radius: 6px; cursor: pointer; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
#name-list li[aria-selected="true"] { background: var(--primary-600); color: white; }
.job .bar { height: 8px; border-radius: 4px; background: var(--border-color-primary);
  overflow: hidden; }
.job .bar i { display: block; height: 100%; border-radius: 4px; background: var(--primary-500);
  transition: width 0.3s; }
.job p { margin: 0.45rem 0 0; overflow-wrap: anywhere; }
.demo { list-style: none; margin: 0.5rem 0 0; padding: 0; counter-reset: step; }
.demo li { position: relative; margin: 0; padding: 0 0 0.8rem 2.2rem; counter-increment: step; }
.demo li::before { content: counter(step); position: absolute; left: 0; top: 0; width: 1.5rem;
  height: 1.5rem; border-radius: 50%; text-align: center; line-height: 1.5rem; font-size: 0.85rem;
  background: var(--border-color-primary); color: var(--body-text-color); }
.demo li.done::before { content: "✓"; background: #15803d; color: white; }
.demo li.now::before { background: var(--primary-600); color: white; }
.demo li b { display: block; line-height: 1.5rem; }
.demo li p { display: block; margin: 0.1rem 0 0; overflow-wrap: anywhere; font-size: 0.95rem;
  color: var(--body-text-color-subdued); }
.chips { flex-wrap: wrap !important; gap: 6px !important; }
.chips button { flex: 0 0 auto !important; min-width: 0 !important; width: auto !important;
  max-width: 100%; padding: 4px 12px !important; border-radius: 999px !important; }
.chips button img { border-radius: 50%; width: 26px !important; height: 26px !important; }
/* Labels above their images instead of on them. */
:is(#faces-photo, #faces-crop, #interpolate-large) [data-testid="block-label"] { position: static;
  border: none; background: none; padding: 4px 8px; font-size: 0.9rem; }
#faces-crop .image-frame, #faces-crop .image-container { height: auto !important; }
footer button.hidden:first-child + .divider { display: none; }
#faces-photo img { max-height: 420px; cursor: pointer; }
#interpolate-large img { width: 100%; height: 100%; object-fit: contain; }
/* Galleries: as high as their images are, with captions below instead of over them. */
.cards, .cards .grid-wrap { min-height: 0 !important; height: auto !important; padding: 0; }
.cards { border: none !important; background: none !important; overflow: visible !important; }
.cards [data-testid="block-label"] { position: static; border: none; background: none; padding: 0;
  margin: 0 0 6px; font-size: 0.95rem; font-weight: 600; }
.cards [data-testid="block-label"] > :first-child { display: none; }
.cards .grid-wrap { max-height: none !important; overflow: visible; }
.cards .grid-container { grid-template-rows: none; grid-auto-rows: auto; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.cards.large .grid-container { grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.cards.whole .grid-container { grid-template-columns: 1fr; }
.cards.small .grid-container { grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); }
#faces-examples .grid-container { grid-template-columns: repeat(4, 1fr); }
:is(#faces-images, #compose-examples) .grid-container { grid-template-columns: repeat(3, 1fr); }
@media (max-width: 640px) {
  :is(#faces-images, #compose-examples) .grid-container { grid-template-columns: repeat(2, 1fr); }
}
#train-results .grid-container { grid-template-columns: repeat(3, minmax(0, 180px)); }
.cards:has(.preview), .cards:has(.preview) .gallery-container { min-height: 420px !important; }
.cards .preview .caption { max-width: 100%; white-space: normal; overflow-wrap: anywhere; }
.cards .thumbnail-item { aspect-ratio: auto; height: auto; display: block; }
.cards .thumbnail-item img { width: 100%; height: auto; display: block; }
.cards .caption-label { position: static; display: block; max-width: none; width: 100%;
  border: none; border-radius: 0; white-space: normal; overflow-wrap: anywhere;
  opacity: 1 !important; padding: 4px 8px; text-align: center; }
/* Captions with a verdict: page.js tells which; the word is there without it, too. */
.cards .caption-label:is([data-verdict="right"], [data-verdict="swapped"],
  [data-verdict="blended"], [data-verdict="twice"], [data-verdict="missing"]) {
  border-top: 4px solid var(--verdict); color: var(--body-text-color);
  background: color-mix(in srgb, var(--verdict) 12%, var(--background-fill-primary)); }
[data-verdict="right"] { --verdict: #16a34a; }
:is([data-verdict="swapped"], [data-verdict="twice"]) { --verdict: #d97706; }
:is([data-verdict="blended"], [data-verdict="missing"]) { --verdict: #dc2626; }
.message:not(:has(p)) { display: none; }
.html-container { padding: 0 !important; }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; margin: 0; padding: 0;
  list-style: none; font-size: 0.85rem; color: var(--body-text-color-subdued); }
.legend i { display: inline-block; width: 1.1em; height: 3px; margin-right: 0.4em;
  vertical-align: middle; border-radius: 2px; }
.drafts { display: flex; flex-wrap: wrap; gap: 8px; }
.drafts img { width: 220px; border-radius: 8px; opacity: 0.85; }
.corners { display: flex; justify-content: space-between; gap: 1rem; margin: 0;
  font-weight: 600; font-size: 0.95rem; overflow-wrap: anywhere; }
.corners bdi:last-child { text-align: end; }
.cards.square .grid-container { grid-template-columns: repeat(var(--grid-cols), 1fr); gap: 4px; }
.cards.square .thumbnail-item .caption-label,
.cards.square [data-testid="block-label"] { display: none; }
.weights { display: grid; grid-template-columns: minmax(0, max-content) 1fr; gap: 0.3rem 0.8rem;
  margin: 0.4rem 0; font-size: 0.95rem; align-items: center; }
.weights dt { overflow-wrap: anywhere; }
.weights dd { margin: 0; display: flex; align-items: center; gap: 0.5rem; }
.weights i { height: 8px; border-radius: 4px; background: #0d9488; max-width: calc(100% - 3rem); }
#map-plot text { fill: var(--body-text-color); font-family: var(--font); paint-order: stroke;
  stroke: var(--body-background-fill); stroke-width: 3px; }
#map-plot .vega-embed, #map-plot svg.marks { width: 100%; height: auto; }
#map-plot details { display: none; }
#compose-order { border: none !important; padding: 0; }
#train-preset .wrap { flex-direction: column; align-items: stretch; }
#train-plot .role-legend { display: none; }
button[role=tab].selected { color: var(--primary-600) !important; }
.dark button[role=tab].selected { color: var(--primary-400) !important; }
.empty[aria-label="Empty value"] { display: none; }
.prose pre, .prose pre code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
""" + _read("layout.css")
