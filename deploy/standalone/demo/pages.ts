// SPDX-License-Identifier: Apache-2.0
import { createCanvas, GlobalFonts } from '@napi-rs/canvas';
import type { Canvas, SKRSContext2D } from '@napi-rs/canvas';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Random } from '#base/random.ts';

/** One page of the demo's input, drawn at run time. `expect` are words that a good reading contains. */
export interface Page {
  readonly name: string;
  readonly png: Buffer;
  readonly expect: readonly string[];
}

const WIDTH = 1000;
const HEIGHT = 1300;
const FAMILY = 'Penstock Demo';

type Draw = (context: SKRSContext2D, random: Random) => void;

function registerFonts(): void {
  const fonts = join(dirname(createRequire(import.meta.url).resolve('dejavu-fonts-ttf/package.json')), 'ttf');
  GlobalFonts.registerFromPath(join(fonts, 'DejaVuSans.ttf'), FAMILY);
  GlobalFonts.registerFromPath(join(fonts, 'DejaVuSansMono.ttf'), `${FAMILY} Mono`);
  GlobalFonts.registerFromPath(join(fonts, 'DejaVuSerif.ttf'), `${FAMILY} Serif`);
}

function blank(width: number, height: number): { canvas: Canvas; context: SKRSContext2D } {
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d');
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, width, height);
  context.fillStyle = '#111111';
  return { canvas, context };
}

function lines(context: SKRSContext2D, x: number, y: number, step: number, rows: readonly string[]): void {
  rows.forEach((row, i) => context.fillText(row, x, y + i * step));
}

const invoice: Draw = (context) => {
  context.font = `54px "${FAMILY}"`;
  context.fillText('INVOICE 2026-0417', 80, 130);
  context.font = `30px "${FAMILY}"`;
  lines(context, 80, 220, 48, ['Turbine Works Ltd', '12 River Street, Lynmouth', 'Customer: Harbour Mill']);
  const rows: [string, string][] = [
    ['Gate valve, 200 mm', '1,240.00'],
    ['Pressure gauge', '86.50'],
    ['Installation, two days', '960.00'],
    ['Total due', '2,286.50'],
  ];
  rows.forEach(([item, price], i) => {
    const y = 480 + i * 80;
    context.fillText(item, 80, y);
    context.fillText(price, 720, y);
    context.fillRect(80, y + 24, 840, 2);
  });
};

const receipt: Draw = (context) => {
  context.font = `34px "${FAMILY} Mono"`;
  lines(context, 120, 140, 60, [
    'CORNER BAKERY',
    'Market Square 4',
    '----------------------',
    'Rye bread       4.20',
    'Two coffees     6.80',
    'Apple cake      3.90',
    '----------------------',
    'SUBTOTAL       14.90',
    'Paid by card',
    'Thank you, come again',
  ]);
};

const table: Draw = (context) => {
  context.font = `40px "${FAMILY}"`;
  context.fillText('Rainfall by station', 80, 110);
  const cells = [
    ['Station', 'March', 'April', 'May'],
    ['Northgate', '112', '87', '54'],
    ['Weir House', '98', '91', '60'],
    ['Hill Farm', '143', '120', '77'],
  ];
  context.font = `32px "${FAMILY}"`;
  cells.forEach((row, r) => row.forEach((cell, c) => context.fillText(cell, 100 + c * 220, 230 + r * 100)));
  for (let r = 0; r <= 4; r++) context.fillRect(80, 165 + r * 100, 860, 2);
};

const skewed: Draw = (context) => {
  context.translate(WIDTH / 2, HEIGHT / 2);
  context.rotate((3 * Math.PI) / 180);
  context.translate(-WIDTH / 2, -HEIGHT / 2);
  context.font = `36px "${FAMILY} Serif"`;
  lines(context, 110, 220, 64, [
    'This page was laid on the scanner',
    'in a hurry and came out crooked.',
    'A reader should not mind: the lines',
    'are straight, only the paper is not.',
    'Signed, the night operator.',
  ]);
};

const columns: Draw = (context) => {
  context.font = `44px "${FAMILY} Serif"`;
  context.fillText('The Valley Gazette', 280, 110);
  context.font = `26px "${FAMILY} Serif"`;
  lines(context, 70, 210, 46, [
    'The old mill will turn',
    'again this summer. The',
    'council voted to repair',
    'the channel and the',
    'wooden sluice above it.',
  ]);
  lines(context, 560, 210, 46, [
    'Anglers report strong',
    'salmon runs since the',
    'new ladder was opened.',
    'Permits are available',
    'at the post office.',
  ]);
};

const noisy: Draw = (context, random) => {
  context.font = `38px "${FAMILY}"`;
  lines(context, 100, 220, 70, [
    'Photocopy of a photocopy',
    'Serial number 7741 0932',
    'Keep this page in the log book',
    'until the next inspection.',
  ]);
  for (let i = 0; i < 2500; i++) {
    const grey = Math.floor(120 + random.fraction() * 110);
    context.fillStyle = `rgb(${grey},${grey},${grey})`;
    context.fillRect(random.fraction() * WIDTH, random.fraction() * HEIGHT, 2, 2);
  }
};

const letter: Draw = (context) => {
  context.font = `32px "${FAMILY} Serif"`;
  lines(context, 110, 180, 58, [
    'Dear Mrs Pemberton,',
    'thank you for the drawings of the',
    'intake. We agree with the diameter',
    'of the pipe and will begin work on',
    'Monday, weather permitting.',
    'Yours sincerely, A. Whitcombe',
  ]);
};

const label: Draw = (context) => {
  context.fillStyle = '#222222';
  context.fillRect(120, 180, 760, 420);
  context.fillStyle = '#ffffff';
  context.font = `52px "${FAMILY}"`;
  lines(context, 180, 290, 90, ['FRAGILE', 'Handle with care', 'Lot 58213']);
};

const SHEETS: readonly (readonly [name: string, draw: Draw, expect: readonly string[]])[] = [
  ['invoice', invoice, ['INVOICE', 'Turbine', 'Total']],
  ['receipt', receipt, ['BAKERY', 'coffees', 'SUBTOTAL']],
  ['table', table, ['Station', 'Northgate', 'Rainfall']],
  ['skewed scan', skewed, ['scanner', 'crooked', 'operator']],
  ['two columns', columns, ['Gazette', 'council', 'salmon']],
  ['noise', noisy, ['Photocopy', 'Serial', 'inspection']],
  ['letter', letter, ['Pemberton', 'diameter', 'Monday']],
  ['label', label, ['FRAGILE', 'care', '58213']],
];

/** Draws every page; the same seed gives the same pixels. */
export function drawPages(random: Random): Page[] {
  registerFonts();
  return SHEETS.map(([name, draw, expect]) => {
    const { canvas, context } = blank(WIDTH, HEIGHT);
    draw(context, random);
    return { name, png: canvas.toBuffer('image/png'), expect };
  });
}
