"""Countries, their cities, and the names that fit them.

Every name is a common given or family name of its country put together at random; no entry is taken from
a directory of people or companies.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class City:
    name: str
    state: str  # region, province, canton or prefecture


@dataclass(frozen=True, slots=True)
class Country:
    name: str
    language: str
    phone: str  # a pattern whose # become digits; numbers reserved for fiction, or that cannot be dialled
    cities: tuple[City, ...]
    given: tuple[str, ...]
    family: tuple[str, ...]
    roots: tuple[tuple[str, ...], tuple[str, ...]]  # halves of an invented company name
    weight: int  # how many of a hundred companies sit here
    aliases: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _cities(text: str) -> tuple[City, ...]:
    """`City/State, City/State`: the commas part cities, the slash parts a city from its region."""
    pairs = (entry.strip().split("/") for entry in text.split(","))
    return tuple(City(name, state) for name, state in pairs)


ENGLISH_GIVEN: Final = _words(
    "Olivia James Emma William Charlotte Thomas Amelia Daniel Grace Samuel Hannah Matthew Lucy Andrew "
    "Rebecca Benjamin Claire Nathan Sophie Oliver Megan Adam Laura Patrick Rachel Simon Alice Edward "
    "Natalie George Julia Marcus Helen Aaron Diana Victor Naomi Leon Priya Omar"
)
ENGLISH_FAMILY: Final = _words(
    "Carter Bennett Hughes Foster Marsh Palmer Reid Walsh Spencer Holloway Dawson Pryce Langley Whitfield "
    "Mercer Ashby Thorne Garrett Hollis Barlow Kendrick Osborne Radley Winslow Draper Falkner Haywood "
    "Latimer Norwood Prescott Redmond Sutton Tilden Vaughan Weston Yardley Okafor Nguyen Patel Rahman"
)
ENGLISH_ROOTS: Final = (
    _words(
        "Alder Silver North Harbor Copper Bright Stone Maple Kestrel Rowan Clear West Iron Amber Fox Heron "
        "Granite Willow Ember Lark"
    ),
    _words("brook fen wind field gate ridge well haven crest moor ford wick point vale stead march"),
)
GERMAN_ROOTS: Final = (
    _words("Birken Linden Stein Falken Silber Eichen Adler Hohen Nord Kupfer Weiss Sonnen Eisen Berg"),
    _words("tal hof feld brück au mark stern wald bach kamp ried horst"),
)
ROMANCE_ROOTS: Final = (
    _words("Mont Val Clair Bel Roca Sol Luz Font Ribe Alta Vera Cor Tora Mira Pontal Sera"),
    _words("oria ente avel ona issa ero anda ura elle igne esca ival"),
)
NORDIC_ROOTS: Final = (
    _words("Fjell Nord Sjö Björk Hav Lund Skog Ström Vinter Gran Ask Storm Varg Klar"),
    _words("vik holm strand dal mark nes gård borg sund heim lid ås"),
)
POLISH_ROOTS: Final = (
    _words("Bialo Zloto Wis Dab Kamien Sosno Jas Orlo Modro Brzo Lipo Gor"),
    _words("wola pol grod lin mar ta dar nik staw brod"),
)
INDIAN_ROOTS: Final = (
    _words("Surya Nila Megha Vayu Indra Kavi Taru Prabha Sagar Dhara Jyoti Ananda Rohi Varun"),
    _words("vana tara loka setu pura dhan mitra jal kosh path stambh rang"),
)
JAPANESE_ROOTS: Final = (
    _words("Aoba Hoshi Kaze Midori Sora Tsuki Yama Haru Kawa Mori Asahi Nami Shiro Taka"),
    _words("hara mine zawa shima saki mori gawa ura machi oka hama nami"),
)


COUNTRIES: Final = (
    Country(
        "United States",
        "English",
        "+1 ###-555-01##",
        _cities(
            "Austin/Texas, Denver/Colorado, Chicago/Illinois, Boston/Massachusetts, Seattle/Washington, "
            "Atlanta/Georgia, Portland/Oregon, Nashville/Tennessee, San Francisco/California, "
            "New York/New York, Minneapolis/Minnesota, Raleigh/North Carolina"
        ),
        ENGLISH_GIVEN,
        ENGLISH_FAMILY,
        ENGLISH_ROOTS,
        26,
        ("us", "usa", "united states of america"),
    ),
    Country(
        "United Kingdom",
        "English",
        "+44 1632 960###",
        _cities(
            "London/England, Manchester/England, Leeds/England, Bristol/England, Edinburgh/Scotland, "
            "Glasgow/Scotland, Cardiff/Wales, Belfast/Northern Ireland"
        ),
        ENGLISH_GIVEN,
        ENGLISH_FAMILY,
        ENGLISH_ROOTS,
        11,
        ("uk", "gb", "great britain"),
    ),
    Country(
        "Germany",
        "German",
        "+49 30 23125 ###",
        _cities(
            "Berlin/Berlin, Munich/Bavaria, Hamburg/Hamburg, Cologne/North Rhine-Westphalia, "
            "Stuttgart/Baden-Württemberg, Leipzig/Saxony, Frankfurt/Hesse, Nuremberg/Bavaria"
        ),
        _words(
            "Anna Lukas Katharina Jonas Lena Felix Sabine Stefan Julia Matthias Franziska Tobias Monika "
            "Jürgen Annika Sebastian Heike Florian Ulrike Moritz Birgit Hannes Ayşe Kerem"
        ),
        _words(
            "Müller Becker Hoffmann Schäfer Koch Richter Wolf Neumann Krüger Hartmann Lange Krause Vogel "
            "Friedrich Keller Günther Berger Winkler Lorenz Seidel Brandt Pohl Engel Yilmaz"
        ),
        GERMAN_ROOTS,
        9,
        ("de", "deutschland"),
    ),
    Country(
        "France",
        "French",
        "+33 1 99 00 ## ##",
        _cities(
            "Paris/Île-de-France, Lyon/Auvergne-Rhône-Alpes, Marseille/Provence-Alpes-Côte d'Azur, "
            "Toulouse/Occitanie, Nantes/Pays de la Loire, Lille/Hauts-de-France, Bordeaux/Nouvelle-Aquitaine"
        ),
        _words(
            "Camille Julien Élodie Nicolas Manon Antoine Chloé Guillaume Aurélie Mathieu Sandrine Thibault "
            "Léa Olivier Hélène Romain Inès Étienne Margaux Bastien Nadia Karim Céline Hugo"
        ),
        _words(
            "Laurent Girard Fontaine Rousseau Mercier Chevalier Garnier Lambert Perrin Marchand Dufour "
            "Besson Renaud Leclerc Colin Vidal Picard Carpentier Roche Maillard Benali Haddad Lefort Aubry"
        ),
        ROMANCE_ROOTS,
        7,
        ("fr",),
    ),
    Country(
        "Netherlands",
        "Dutch",
        "+31 00 555 01##",
        _cities(
            "Amsterdam/North Holland, Rotterdam/South Holland, Utrecht/Utrecht, Eindhoven/North Brabant, "
            "The Hague/South Holland, Groningen/Groningen"
        ),
        _words(
            "Sanne Daan Lotte Bram Femke Sander Anouk Jeroen Marloes Thijs Eva Ruben Iris Wouter Maaike "
            "Pieter Esther Joris Yasmin Rachid"
        ),
        _words(
            "Jansen Bakker Visser Smit Meijer Mulder Bos Vos Peters Hendriks Dekker Dijkstra Postma Kuiper "
            "Veenstra Kramer Schouten Hoekstra Willems Amrani"
        ),
        GERMAN_ROOTS,
        5,
        ("nl", "holland", "the netherlands"),
    ),
    Country(
        "Canada",
        "English",
        "+1 ###-555-01##",
        _cities(
            "Toronto/Ontario, Vancouver/British Columbia, Montreal/Quebec, Calgary/Alberta, Ottawa/Ontario, "
            "Halifax/Nova Scotia"
        ),
        ENGLISH_GIVEN,
        ENGLISH_FAMILY,
        ENGLISH_ROOTS,
        5,
        ("ca",),
    ),
    Country(
        "Spain",
        "Spanish",
        "+34 000 555 1##",
        _cities(
            "Madrid/Community of Madrid, Barcelona/Catalonia, Valencia/Valencian Community, "
            "Seville/Andalusia, Bilbao/Basque Country, Zaragoza/Aragon"
        ),
        _words(
            "Lucía Javier Carmen Álvaro Marta Sergio Elena Pablo Cristina Diego Raquel Iván Nuria Rubén "
            "Beatriz Andrés Silvia Gonzalo Irene Marcos"
        ),
        _words(
            "García Navarro Molina Ortega Serrano Delgado Castro Rubio Marín Iglesias Nieto Cabrera Vega "
            "Fuentes Herrero Lozano Gallego Peña Calvo Prieto"
        ),
        ROMANCE_ROOTS,
        4,
        ("es", "españa"),
    ),
    Country(
        "Italy",
        "Italian",
        "+39 000 555 01##",
        _cities(
            "Milan/Lombardy, Rome/Lazio, Turin/Piedmont, Bologna/Emilia-Romagna, Florence/Tuscany, "
            "Verona/Veneto"
        ),
        _words(
            "Giulia Marco Francesca Alessandro Chiara Luca Elisa Matteo Valentina Davide Paola Stefano "
            "Silvia Riccardo Martina Fabio Serena Giorgio Ilaria Nicola"
        ),
        _words(
            "Ricci Marino Greco Gallo Conti Mancini Lombardi Moretti Barbieri Fontana Rinaldi Caruso "
            "Ferrara Martini Leone Villa Bianco Pellegrini Fabbri Sartori"
        ),
        ROMANCE_ROOTS,
        4,
        ("it", "italia"),
    ),
    Country(
        "Sweden",
        "Swedish",
        "+46 8 465 004 ##",
        _cities(
            "Stockholm/Stockholm County, Gothenburg/Västra Götaland, Malmö/Skåne, Uppsala/Uppsala County"
        ),
        _words(
            "Elin Erik Maja Johan Linnea Oskar Karin Anders Frida Gustav Sofia Henrik Ida Viktor Malin "
            "Fredrik Hanna Niklas Leila Amir"
        ),
        _words(
            "Lindberg Sandström Ekström Holmgren Nyström Wallin Sjöberg Engström Forsberg Hedlund Åkesson "
            "Norberg Blom Dahlgren Isaksson Lundin Rosén Falk Öberg Strand"
        ),
        NORDIC_ROOTS,
        4,
        ("se", "sverige"),
    ),
    Country(
        "Australia",
        "English",
        "+61 2 5550 ####",
        _cities(
            "Sydney/New South Wales, Melbourne/Victoria, Brisbane/Queensland, Perth/Western Australia, "
            "Adelaide/South Australia"
        ),
        ENGLISH_GIVEN,
        ENGLISH_FAMILY,
        ENGLISH_ROOTS,
        4,
        ("au",),
    ),
    Country(
        "India",
        "English",
        "+91 00000 555##",
        _cities(
            "Bengaluru/Karnataka, Mumbai/Maharashtra, Hyderabad/Telangana, Pune/Maharashtra, "
            "Chennai/Tamil Nadu, Gurugram/Haryana"
        ),
        _words(
            "Ananya Rohan Priya Arjun Kavya Vikram Neha Aditya Divya Karthik Pooja Rahul Meera Siddharth "
            "Shreya Nikhil Lakshmi Manish Farah Imran"
        ),
        _words(
            "Sharma Iyer Reddy Menon Kulkarni Desai Banerjee Nair Chopra Joshi Rao Bhatt Malhotra Pillai "
            "Saxena Kapoor Ghosh Thakur Sheikh Fernandes"
        ),
        INDIAN_ROOTS,
        5,
        ("in",),
    ),
    Country(
        "Poland",
        "Polish",
        "+48 000 555 1##",
        _cities(
            "Warsaw/Masovia, Kraków/Lesser Poland, Wrocław/Lower Silesia, Gdańsk/Pomerania, "
            "Poznań/Greater Poland"
        ),
        _words(
            "Agnieszka Piotr Katarzyna Tomasz Magdalena Paweł Joanna Michał Ewa Krzysztof Monika Marcin "
            "Zofia Łukasz Karolina Jakub Natalia Wojciech"
        ),
        _words(
            "Nowak Wójcik Mazur Krawczyk Kaczmarek Zając Król Wieczorek Dudek Pawlak Sikora Baran Szulc "
            "Kubiak Wilk Lis Sobczak Czarnecki"
        ),
        POLISH_ROOTS,
        3,
        ("pl", "polska"),
    ),
    Country(
        "Ireland",
        "English",
        "+353 20 911 ####",
        _cities("Dublin/Leinster, Cork/Munster, Galway/Connacht, Limerick/Munster"),
        _words(
            "Aoife Conor Niamh Cian Siobhán Declan Ciara Eoin Orla Brendan Róisín Fionn Maeve Darragh "
            "Sinéad Ronan Gráinne Oisín"
        ),
        _words(
            "Brennan Gallagher Doyle Nolan Kavanagh Quinn Delaney Foley Hickey Keane Lynch Moran Power "
            "Sheehan Tierney Daly Costello Fallon"
        ),
        ENGLISH_ROOTS,
        2,
        ("ie",),
    ),
    Country(
        "Denmark",
        "Danish",
        "+45 00 55 01 ##",
        _cities("Copenhagen/Capital Region, Aarhus/Central Denmark, Odense/Southern Denmark"),
        _words(
            "Freja Mikkel Astrid Rasmus Sofie Søren Camilla Jesper Line Kasper Mette Lars Signe Emil Anja "
            "Thomas"
        ),
        _words(
            "Holm Lund Vestergaard Kjær Bach Dam Winther Krogh Toft Skov Friis Bruun Thorsen Lauridsen "
            "Nørgaard Mølgaard"
        ),
        NORDIC_ROOTS,
        2,
        ("dk",),
    ),
    Country(
        "Switzerland",
        "German",
        "+41 00 555 01 ##",
        _cities("Zurich/Zurich, Geneva/Geneva, Basel/Basel-Stadt, Bern/Bern, Lausanne/Vaud"),
        _words(
            "Nina Reto Andrea Urs Corinne Beat Simone Marc Daniela Patrick Nadine Thomas Céline Luca "
            "Barbara Adrian"
        ),
        _words(
            "Meier Baumann Frei Gerber Graf Brunner Steiner Moser Zimmermann Roth Bühler Kunz Suter Widmer "
            "Favre Ammann"
        ),
        GERMAN_ROOTS,
        2,
        ("ch",),
    ),
    Country(
        "Austria",
        "German",
        "+43 000 555 01##",
        _cities("Vienna/Vienna, Graz/Styria, Linz/Upper Austria, Salzburg/Salzburg"),
        _words(
            "Magdalena Andreas Theresa Bernhard Eva Markus Verena Christoph Lisa Georg Katharina Wolfgang "
            "Sarah Martin Barbara Gerald"
        ),
        _words(
            "Gruber Pichler Steininger Hofer Leitner Egger Wimmer Auer Lechner Aigner Haas Ebner Riegler "
            "Strasser Lang Maurer"
        ),
        GERMAN_ROOTS,
        2,
        ("at", "österreich"),
    ),
    Country(
        "Portugal",
        "Portuguese",
        "+351 000 555 1##",
        _cities("Lisbon/Lisbon, Porto/Porto, Braga/Braga, Coimbra/Coimbra"),
        _words(
            "Inês João Mariana Tiago Catarina Miguel Rita Gonçalo Joana Pedro Sofia Ricardo Marta Nuno "
            "Beatriz Rui"
        ),
        _words(
            "Almeida Carvalho Teixeira Moreira Correia Nunes Marques Cardoso Pinto Ramos Antunes Vieira "
            "Monteiro Freitas Barros Matos"
        ),
        ROMANCE_ROOTS,
        2,
        ("pt",),
    ),
    Country(
        "Brazil",
        "Portuguese",
        "+55 00 00555-01##",
        _cities(
            "São Paulo/São Paulo, Rio de Janeiro/Rio de Janeiro, Curitiba/Paraná, "
            "Belo Horizonte/Minas Gerais, Porto Alegre/Rio Grande do Sul"
        ),
        _words(
            "Fernanda Rafael Juliana Bruno Camila Thiago Larissa Gustavo Aline Rodrigo Patrícia Leonardo "
            "Beatriz Felipe Renata Vinícius"
        ),
        _words(
            "Oliveira Barbosa Rocha Araújo Cavalcanti Mendes Campos Teles Farias Siqueira Batista Moraes "
            "Duarte Pires Azevedo Rezende"
        ),
        ROMANCE_ROOTS,
        2,
        ("br", "brasil"),
    ),
    Country(
        "Singapore",
        "English",
        "+65 0555 01##",
        _cities("Singapore/Central Region, Jurong East/West Region, Tampines/East Region"),
        _words(
            "Wei Mei Jia Hui Jun Kai Xin Yi Rachel Darren Serene Marcus Aisha Hafiz Kavitha Rajesh Li Cheryl"
        ),
        _words("Tan Lim Lee Ng Ong Wong Goh Chua Koh Teo Yeo Chia Rahmat Ismail Krishnan Nathan"),
        ENGLISH_ROOTS,
        2,
        ("sg",),
    ),
    Country(
        "Japan",
        "Japanese",
        "+81 0-5550-01##",
        _cities("Tokyo/Tokyo, Osaka/Osaka, Nagoya/Aichi, Fukuoka/Fukuoka, Sapporo/Hokkaido"),
        _words(
            "Haruka Kenji Yuki Takashi Aya Hiroshi Misaki Daisuke Naoko Ryo Emi Shota Keiko Satoshi Mai "
            "Kazuki"
        ),
        _words(
            "Fujimoto Kobayashi Nakamura Ishida Ogawa Matsuda Hayashi Shimizu Mori Ikeda Hashimoto Okada "
            "Murakami Sakamoto Endo Nishimura"
        ),
        JAPANESE_ROOTS,
        3,
        ("jp",),
    ),
)

COUNTRY_BY_NAME: Final = MappingProxyType({country.name: country for country in COUNTRIES})
COUNTRY_ALIASES: Final = MappingProxyType(
    {alias: country.name.lower() for country in COUNTRIES for alias in country.aliases}
)
